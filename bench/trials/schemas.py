"""What `store.json`, `plan.json`, `request.json` and `result.json` of a results folder may hold."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

from bench.base.json_files import (
    KEY,
    NUMBER,
    NUMBER_OR_NULL,
    SWITCH,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    Schema,
    listing,
    or_null,
    record,
    with_optional,
)
from bench.data.subtomograms import GreyScale
from bench.learning.protocol import PROTOCOLS, SELECTIONS
from bench.learning.views import VIEWS
from bench.trials.trial import CONTRIBUTED, OURS, RERUN, Costs, Scores, Status

MOVES_NO_NUMBER = True

# Another version may say more; its number is what counts.
STORE: Schema = {"type": "object", "properties": {"format": WHOLE, "version": TEXT}, "required": ["format", "version"]}

_SETTINGS = listing({"type": "array", "prefixItems": [TEXT, True], "minItems": 2, "maxItems": 2})  # name, value
_TRIAL = with_optional(
    record(
        dataset=TEXT,
        data_parameters=_SETTINGS,
        fingerprint=TEXT,
        test_fraction=NUMBER,
        protocol={"enum": [*PROTOCOLS]},
        views={"enum": [*VIEWS]},
        select={"enum": [*SELECTIONS]},
        test_views=WHOLE,
        method=TEXT,
        settings=_SETTINGS,
        labelled_percent=NUMBER_OR_NULL,
        seed=WHOLE,
        budget=record(epochs=WHOLE, batch_size=WHOLE, filters=WHOLE),
        code=TEXT,
        data_title=TEXT,
        method_title=TEXT,
        variant=TEXT,
    ),
    conditions=_SETTINGS,
)
PLAN: Schema = {"type": "object", "propertyNames": KEY, "additionalProperties": _TRIAL}

REQUESTS: Schema = {
    "minItems": 1,
    **listing(
        record(
            dataset=TEXT,
            data=TEXT_OR_NULL,
            methods=TEXT,
            fractions=TEXT,
            seeds=WHOLE_OR_NULL,
            profile=TEXT,
            protocol=TEXT_OR_NULL,
            views=TEXT_OR_NULL,
            select=TEXT_OR_NULL,
            test_views=WHOLE,
            epochs=WHOLE_OR_NULL,
            settings=listing(TEXT),
            device=TEXT,
            backend=TEXT,
            cpus_per_trial=WHOLE,
            gpus_per_trial=NUMBER_OR_NULL,
            deterministic=SWITCH,
            time_limit=NUMBER_OR_NULL,
            checkpoint_every=NUMBER,
        )
    ),
}

_TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
_COUNTS = record(
    n_train=WHOLE,
    n_labelled=WHOLE,
    n_validation_labelled=WHOLE,
    n_test=WHOLE,
    n_classes=WHOLE,
    split_by=TEXT,
    split=TEXT,
)
_FITTED = record(
    box=WHOLE,
    voxel_size_in_angstroms=NUMBER_OR_NULL,
    grey_scale={"enum": [*get_args(GreyScale)]},
    mean=NUMBER,
    std=NUMBER,
    validation_nll=NUMBER_OR_NULL,
    validation_labels=WHOLE,
    temperature=NUMBER,
)
RESULT = with_optional(
    record(
        key=KEY,
        trial=_TRIAL,
        result=record(
            status={"enum": [str(status) for status in Status]},
            error=TEXT,
            counts=or_null(_COUNTS),
            scores=record(**{f.name: NUMBER_OR_NULL for f in fields(Scores)}),
            costs=record(**{f.name: NUMBER_OR_NULL for f in fields(Costs)}),
            recall=listing(NUMBER),
            confusion=listing({"type": "array"}),  # `Record.from_json` reads its numbers, and those of the history
            history=listing({"type": "array"}),
            class_names=listing(TEXT),
            fitted=or_null(_FITTED),
            guesses=or_null(record(used=NUMBER, accuracy=NUMBER_OR_NULL)),
            scored_by=TEXT,
        ),
        files=_TEXTS,
        device=TEXT_OR_NULL,
        host=TEXT_OR_NULL,
        finished=TEXT_OR_NULL,
        versions=_TEXTS,
        checksum=KEY,
    ),
    origin={"enum": [OURS, CONTRIBUTED, RERUN]},
)
