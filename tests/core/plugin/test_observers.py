import logging
from types import SimpleNamespace

import pytest

from corepress.plugin import Registry, hookimpl


def watching(seen, name, *, fails=False, **options):
    @hookimpl(**options)
    def on_step(run, step):
        seen.append((name, run, step))
        if fails:
            raise RuntimeError("no luck")

    return SimpleNamespace(on_step=on_step)


def running(seen, name, result=None):
    @hookimpl
    def run_stage(stage):
        seen.append(name)
        return result

    return SimpleNamespace(run_stage=run_stage)


class Stage:
    def __init__(self, seen):
        self.seen = seen

    def execute(self, run):
        self.seen.append("core")
        return 3


def plugins_of(toys, *plugins):
    return Registry([toys.candidate(plugin, name=f"p{n}") for n, plugin in enumerate(plugins)])


def test_every_observer_is_called_with_the_arguments_it_takes(toys):
    seen = []

    class Brief:
        @staticmethod
        @hookimpl
        def on_step(step):
            seen.append(step)

    plugins_of(toys, watching(seen, "a"), Brief).notify("on_step", run="run", step=7)
    assert seen == [7, ("a", "run", 7)]


def test_an_observer_that_raises_is_logged_and_disturbs_nobody(toys, caplog):
    seen = []
    plugins = plugins_of(toys, watching(seen, "a"), watching(seen, "b", fails=True), watching(seen, "c"))
    with caplog.at_level(logging.ERROR, "corepress"):
        plugins.notify("on_step", run="run", step=1)
    assert [name for name, _, _ in seen] == ["c", "b", "a"]
    assert [record.getMessage() for record in caplog.records] == ["observer on_step of plugin toys/p1 failed"]
    assert "no luck" in caplog.text


def test_the_user_may_still_interrupt(toys):
    @hookimpl
    def on_step():
        raise KeyboardInterrupt

    plugins = plugins_of(toys, SimpleNamespace(on_step=on_step))
    with pytest.raises(KeyboardInterrupt):
        plugins.notify("on_step", run="run", step=1)


def test_an_observer_may_ask_to_be_first_or_last(toys):
    seen = []
    plugins = plugins_of(
        toys, watching(seen, "first", tryfirst=True), watching(seen, "last", trylast=True), watching(seen, "between")
    )
    plugins.notify("on_step", run="run", step=1)
    assert [name for name, _, _ in seen] == ["first", "between", "last"]


def test_without_plugins_the_core_runs_a_stage(toys):
    seen = []
    assert plugins_of(toys).call_first("run_stage", run="run", stage=Stage(seen)) == 3
    assert seen == ["core"]


def test_the_first_plugin_that_runs_a_stage_is_the_only_one(toys):
    seen = []
    plugins = plugins_of(toys, running(seen, "never", 1), running(seen, "taken", 2), running(seen, "declines"))
    assert plugins.call_first("run_stage", run="run", stage=Stage(seen)) == 2
    assert seen == ["declines", "taken"]


def test_a_stage_may_be_wrapped(toys):
    seen = []

    @hookimpl(wrapper=True)
    def run_stage(run, stage):
        seen.append("before")
        result = yield
        seen.append("after")
        return result + 1

    plugins = plugins_of(toys, SimpleNamespace(run_stage=run_stage))
    assert plugins.call_first("run_stage", run="run", stage=Stage(seen)) == 4
    assert seen == ["before", "core", "after"]


def test_errors_of_a_stage_go_through_its_wrappers(toys):
    seen = []

    @hookimpl(wrapper=True)
    def run_stage():
        try:
            return (yield)
        except RuntimeError as error:
            seen.append(str(error))
            raise

    def execute(run):
        raise RuntimeError("no luck")

    plugins = plugins_of(toys, SimpleNamespace(run_stage=run_stage))
    with pytest.raises(RuntimeError, match="no luck"):
        plugins.call_first("run_stage", run="run", stage=SimpleNamespace(execute=execute))
    assert seen == ["no luck"]
