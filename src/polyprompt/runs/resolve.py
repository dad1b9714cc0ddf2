"""What a user leaves open of a run of `adapt`, as the method's authors have it (`PUBLISHED` in each method's file)."""

from dataclasses import MISSING, asdict, fields

from polyprompt.adapt.engine import CountsEpochs
from polyprompt.adapt.published import NEAREST, Protocol, Published, Untrained
from polyprompt.adapt.tasks import takes_tasks
from polyprompt.adapt.terms import TermConfig
from polyprompt.data.source import prompt_of
from polyprompt.errors import ConfigError
from polyprompt.methods import config_of, for_several_tasks, records
from polyprompt.runs.saved import config_from, term_from
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import merged
from polyprompt.values import Json

AUTO, AUTO_SECONDS = "auto", 600.0
"""Stands for the method that does best on held-out training pictures (auto.py); its time, if no budget is given."""


TRAINING = ("epochs", "batch", "rate", "optimizer", "weight_decay", "eps", "schedule", "crop", "views")


def resolved(settings: AdaptSettings) -> AdaptSettings:
    """The same with everything said: the method's settings, and how it is trained.

    Raises:
        ConfigError: no such method, a setting that it does not have, or nothing published to fill a gap.
    """
    given = dict(settings.method)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("method has no name; say which: --method NAME (`polyprompt methods` lists them)")
    if name == AUTO:
        if given:
            raise ConfigError(f"method auto has no setting {next(iter(given))!r}; it takes each method as published")
        _check_tasks(settings, name, several=False)
        return settings.model_copy(update={"budget": settings.budget or AUTO_SECONDS})
    published = nearest(name, settings.protocol)
    if not settings.descriptions:
        given = own_prompt(name, settings.data, settings.test, *settings.also) | given
    config = config_from(name, merged(asdict(published.config), given) if published else given)
    _check_tasks(settings, name, several=takes_tasks(config))
    terms = {
        term: asdict(term_from(term, values))  # pyright: ignore[reportArgumentType]
        for term, values in settings.terms.items()
    }
    select = settings.select or (published.select if published else "last")
    method = {"name": name} | asdict(config)  # pyright: ignore[reportArgumentType]
    update = {"method": method, "terms": terms, "select": select}
    resolved = settings.model_copy(update=update)
    if isinstance(records(name), Untrained):
        return resolved
    resolved = resolved.model_copy(update=_training(resolved, name, published))
    for one in (config, *terms_of(resolved)):
        if resolved.epochs and isinstance(one, CountsEpochs):
            one.check_epochs(resolved.epochs)
    return resolved


def own_prompt(name: str, *sources: str | None) -> Json:
    """The published prompt of the sets that a run has, where all have the same one: in a setting of the method.

    That is for methods whose config says with `by_set` in which one; their authors have a prompt for each set.
    """
    field = "" if name == AUTO else getattr(config_of(name), "by_set", "")
    prompts = {prompt_of(source) for source in sources if source}
    if not field or len(prompts) != 1 or not (prompt := prompts.pop()):
        return {}
    return {field: [prompt] if field == "templates" else prompt}


def _check_tasks(settings: AdaptSettings, name: str, *, several: bool) -> None:
    """Refuses what several tasks do not go with.

    Raises:
        ConfigError: says what.
    """
    if not settings.task:
        return
    if not several:
        others = ", ".join(for_several_tasks())
        raise ConfigError(f"method {name} learns one task at a time; for several take one of these: {others}")
    sources = (settings.data, *settings.task)
    if twice := next((one for one in sources if sources.count(one) > 1), None):
        raise ConfigError(f"task {twice} is named twice; each is learned once")
    other = {"protocol": "few-shot", "test": None, "also": (), "select": None}
    for field, usual in other.items():
        if (value := getattr(settings, field)) not in (usual, "last" if field == "select" else usual):
            raise ConfigError(
                f"{field} is {value!r}, and several tasks are learned few-shot, to the last epoch, and each scored on "
                f"pictures of its own; leave {field} out"
            )


def _training(settings: AdaptSettings, name: str, published: Published | None) -> Json:
    """What is open of how to train, as published."""
    theirs: Json = {}
    if published:
        theirs = {field: getattr(published, field) for field in TRAINING}
        theirs |= {"epochs": published.epochs_for(settings.shots), "steps": published.steps_for(settings.shots)}
    values = {field: theirs.get(field) for field in TRAINING if getattr(settings, field) is None}
    if settings.epochs is None and settings.steps is None:
        values["steps"] = theirs.get("steps")
    for field in ("epochs", "batch", "rate"):
        counted = field == "epochs" and (settings.steps or values.get("steps"))
        if field in values and values[field] is None and not counted:
            raise ConfigError(
                f"{field} is not given, and {name} publishes no settings to take it from; give --set {field}=NUMBER"
            )
    usual = {field.name: field.default for field in fields(Published) if field.default is not MISSING}
    return {field: usual.get(field) if value is None else value for field, value in values.items()}


def nearest(name: str, protocol: Protocol) -> Published | None:
    """The authors' settings for a protocol, or for the nearest that they published."""
    known = records(name)
    return next((known[one] for one in NEAREST[protocol] if one in known), None)


def terms_of(settings: AdaptSettings) -> list[TermConfig]:
    """The configs of the terms beside the method's own."""
    return [term_from(name, values) for name, values in settings.terms.items()]
