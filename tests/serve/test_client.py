"""OpenAI's own client against a server on this machine."""

import numpy as np
import pytest
import torch
from asking import TOKEN, listening
from toy_server import uri

from polyprompt.serve.app import make_app

pytestmark = [pytest.mark.slow, pytest.mark.outside("process", "socket")]


def test_openais_client_gets_embeddings_and_its_own_errors(service, photos):
    import openai

    model = service.models["toy"].embedder
    with listening(make_app(service, TOKEN)) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0) as client:
            assert [one.id for one in client.models.list()] == ["toy"]
            texts = ["a red square", "blue"]
            answer = client.embeddings.create(model="toy", input=texts)  # it asks for base64 by itself
            found = torch.from_numpy(np.array([one.embedding for one in answer.data], np.float32))
            torch.testing.assert_close(found, model.texts(texts), rtol=1e-4, atol=1e-4)
            assert answer.usage.prompt_tokens > 2
            seen = client.embeddings.create(model="toy", input=uri(photos / "red-0.png"), encoding_format="float")
            assert len(seen.data[0].embedding) == 24
            with pytest.raises(openai.NotFoundError, match="no model is called 'gpt'"):
                client.embeddings.create(model="gpt", input="a")
            with pytest.raises(openai.BadRequestError, match="a text is empty"):
                client.embeddings.create(model="toy", input=" ")
        with (
            openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError, match="needs its token"),
        ):
            stranger.models.list()
