"""Pictures that come in requests."""

import base64
import io

from polyprompt.media.pictures import open_picture


def test_a_truncated_picture_spoils_no_other_request(client, photos):
    data = io.BytesIO()
    open_picture(photos / "red-0.png").save(data, "JPEG")
    cut = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()[:400]).decode()
    answer = client.post("/search", json={"collection": "photos", "like": [cut]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")
