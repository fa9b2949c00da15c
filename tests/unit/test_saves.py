"""`checkpoint=`: what it accepts, and which classes can have it."""

from __future__ import annotations

import datetime

import pytest

import cyray
from cyray._spec import options, saves
from cyray._spec.saves import SaveRules
from cyray.actor import Checkpointable


class Saved:
    def __cyray_save__(self):
        return None

    def __cyray_restore__(self, state):
        pass


class Old(Checkpointable):
    def should_checkpoint(self, checkpoint_context):
        return True

    def save_checkpoint(self, actor_id, checkpoint_id):
        pass

    def load_checkpoint(self, actor_id, available_checkpoints):
        return None

    def checkpoint_expired(self, actor_id, checkpoint_id):
        pass


class Plain:
    pass


def rules(cls, **given):
    return saves.rules_of(cls, options.actor_options(given))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (100, SaveRules(calls=100)),
        (datetime.timedelta(minutes=1), SaveRules(seconds=60.0)),
        ({"calls": 7}, SaveRules(calls=7)),
        ({"seconds": 0.5}, SaveRules(seconds=0.5)),
        ({"calls": 7, "seconds": datetime.timedelta(seconds=2)}, SaveRules(7, 2.0)),
    ],
)
def test_what_it_takes(given, meant):
    assert rules(Saved, max_restarts=-1, checkpoint=given) == meant


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (0, ValueError, "from 1"),
        (-1, ValueError, "from 1"),
        (True, TypeError, "must be an int"),
        (2.5, TypeError, "must be an int"),
        ("100", TypeError, "must be an int"),
        (datetime.timedelta(0), ValueError, "more than 0 seconds"),
        ({}, ValueError, "'calls', 'seconds' or both"),
        ({"call": 1}, ValueError, "'calls', 'seconds' or both"),
        ({"calls": None}, ValueError, "neither"),
        ({"calls": 1.5}, TypeError, "'calls'"),
        ({"seconds": "1"}, TypeError, "'seconds'"),
        ({"seconds": float("nan")}, ValueError, "more than 0 seconds"),
    ],
)
def test_what_it_refuses(given, error, text):
    with pytest.raises(error, match=text):
        rules(Saved, max_restarts=-1, checkpoint=given)


def test_what_holds_where_nothing_is_said():
    assert rules(Saved, max_restarts=-1) == SaveRules(seconds=1.0)
    assert rules(Saved, max_restarts=3, checkpoint=None) == SaveRules(seconds=1.0)
    assert rules(Old, max_restarts=1) == SaveRules(asks=True)


def test_what_is_never_restarted_is_not_saved():
    assert rules(Saved) is None
    assert rules(Old) is None
    assert rules(Plain, max_restarts=-1) is None
    with pytest.raises(ValueError, match="never restarted"):
        rules(Saved, checkpoint=5)
    with pytest.raises(ValueError, match="never restarted"):
        rules(Saved, checkpoint=datetime.timedelta(seconds=5), max_restarts=0)


def test_which_classes_cannot_be_saved():
    class Half:
        def __cyray_restore__(self, state):
            pass

    class Coroutine(Saved):
        async def __cyray_save__(self):
            return None

    class Both(Old):
        __cyray_save__ = Saved.__cyray_save__
        __cyray_restore__ = Saved.__cyray_restore__

    with pytest.raises(TypeError, match="__cyray_restore__ and no __cyray_save__"):
        rules(Half)
    with pytest.raises(TypeError, match="async def"):
        rules(Coroutine)
    with pytest.raises(TypeError, match="in one way"):
        rules(Both)
    with pytest.raises(ValueError, match=r"checkpoint=5: Plain cannot be saved"):
        rules(Plain, max_restarts=1, checkpoint=5)
    with pytest.raises(ValueError, match="should_checkpoint"):
        rules(Old, max_restarts=1, checkpoint=5)


def test_it_is_no_option_of_functions():
    with pytest.raises(ValueError, match="checkpoint"):
        cyray.remote(checkpoint=5)(lambda: None)
