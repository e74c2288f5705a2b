import subprocess
import sys
import warnings

import pytest

from corepress.errors import PluginError
from corepress.plugin import ModuleKind, PluginWarning, Registry, hookimpl
from corepress.plugin.discovery import installed

PLUGIN = """
from corepress.plugin import AlgorithmSpec, hookimpl

@hookimpl
def register_algorithms():
    return [AlgorithmSpec(name={name!r}, summary="A toy.", config="a:B", implementation="a:B", produces="dense")]
"""
MARKED = "import pathlib\npathlib.Path(__file__).with_suffix('.imported').touch()\n"


def failing(toys, plugin, **more):
    with pytest.warns(PluginWarning) as caught:
        record = Registry([toys.candidate(plugin, **more)]).records[0]
    assert len(caught) == 1
    assert record.status == "failed"
    assert str(caught[0].message) == (
        f"plugin toys/toy failed to load and is left out: {record.error} "
        "('corepress plugins --traceback toy' shows the traceback)"
    )
    return record


def test_entry_points_are_found_sorted_by_distribution_and_name(site):
    site("zoo", "ant", PLUGIN.format(name="ant"))
    site("farm", "goose", PLUGIN.format(name="goose"))
    site("farm", "cow", PLUGIN.format(name="cow"))
    found = [(c.distribution, c.name) for c in installed()]
    assert found == sorted(found)
    assert {("farm", "cow"), ("farm", "goose"), ("zoo", "ant")} <= set(found)


def test_a_record_says_where_a_plugin_comes_from_and_what_it_offers(site):
    site("farm", "cow", PLUGIN.format(name="moo"))
    record = next(record for record in Registry().records if record.distribution == "farm")
    assert record.as_dict() == {
        "name": "cow",
        "distribution": "farm",
        "version": "0.3",
        "module": "farm_cow",
        "status": "active",
        "error": None,
        "traceback": None,
        "hooks": ("register_algorithms",),
        "algorithms": ("moo",),
    }
    assert record.identity == "farm/cow"


@pytest.mark.parametrize("named", ["cow", "farm", "farm/cow"])
@pytest.mark.parametrize("variable", ["COREPRESS_BLOCK_PLUGINS", "COREPRESS_PLUGINS"])
def test_lists_are_read_before_anything_is_imported(site, monkeypatch, variable, named):
    folder = site("farm", "cow", MARKED + PLUGIN.format(name="moo"))
    site("zoo", "ant", MARKED + PLUGIN.format(name="ant"))
    monkeypatch.setenv(variable, f" {named}, none-such ")
    records = {record.identity: record for record in Registry().records}
    blocked, active = ("farm/cow", "zoo/ant") if "BLOCK" in variable else ("zoo/ant", "farm/cow")
    reason = "named in the block list" if "BLOCK" in variable else "not named in the allow list"
    assert (records[blocked].status, records[blocked].error) == ("blocked", reason)
    assert records[active].status == "active"
    imported = [path.stem for path in folder.glob("*.imported")]
    assert imported == [active.replace("/", "_")]


def test_arguments_win_over_the_environment(toys, monkeypatch):
    monkeypatch.setenv("COREPRESS_BLOCK_PLUGINS", "toy")
    monkeypatch.setenv("COREPRESS_PLUGINS", "other")
    plugins = Registry([toys.candidate(toys.offering(toys.spec()))], allow=["toy"], block=[])
    assert plugins.records[0].status == "active"


def test_the_block_list_wins_over_the_allow_list(toys):
    plugins = Registry([toys.candidate(toys.offering(toys.spec()))], allow=["toy"], block=["toys"])
    assert plugins.records[0].error == "named in the block list"


def test_a_broken_import_is_recorded_with_its_traceback(site):
    site("farm", "cow", "import no_such_module\n")
    with pytest.warns(PluginWarning, match="farm/cow failed to load"):
        record = next(record for record in Registry().records if record.distribution == "farm")
    assert record.status == "failed"
    assert record.error == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "farm_cow.py" in record.traceback
    assert "import no_such_module" in record.traceback


@pytest.mark.parametrize("error", [RuntimeError("no luck"), SystemExit("bye"), SyntaxError("what")])
def test_a_broken_plugin_takes_no_other_down(toys, error):
    candidates = [
        toys.candidate(toys.offering(toys.spec("first")), name="first"),
        toys.candidate(error),
        toys.candidate(toys.offering(toys.spec("last")), name="last"),
    ]
    with pytest.warns(PluginWarning) as caught:
        plugins = Registry(candidates)
    assert len(caught) == 1
    assert [record.status for record in plugins.records] == ["active", "failed", "active"]
    assert [spec.name for spec in plugins.algorithms()] == ["first", "last"]


def test_strict_raises(toys):
    with pytest.raises(PluginError) as caught:
        Registry([toys.candidate(RuntimeError("no luck"))], strict=True)
    assert str(caught.value) == "plugin toys/toy failed to load: RuntimeError: no luck"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_misspelt_hook_is_told_the_nearest(toys):
    class Plugin:
        @staticmethod
        @hookimpl
        def register_algoritms():
            return []

    assert failing(toys, Plugin).error == "unknown hook 'register_algoritms'; did you mean 'register_algorithms'?"


def test_a_hook_with_a_wrong_argument_is_refused(toys):
    class Plugin:
        @staticmethod
        @hookimpl
        def on_step(run, stepp):
            """Argument `stepp` is misspelt."""

    assert failing(toys, Plugin).error == (
        "hook 'on_step'; hookimpl definition: on_step(run, stepp); "
        "Argument(s) {'stepp'} are declared in the hookimpl but can not be found in the hookspec"
    )


def test_a_plugin_without_hooks_is_told_to_mark_them(toys):
    class Plugin:
        @staticmethod
        def register_algorithms():
            return [toys.spec()]

    assert failing(toys, Plugin).error == "it implements no hook; mark its functions with corepress.plugin.hookimpl"


def test_a_newer_author_api_asks_for_an_upgrade(toys):
    assert failing(toys, toys.offering(toys.spec(api=2))).error == (
        "algorithm 'sign' is written for version 2 of the author API, this corepress offers 1; upgrade corepress"
    )


def test_one_name_cannot_be_offered_twice_by_one_plugin(toys):
    assert failing(toys, toys.offering(toys.spec(), toys.spec())).error == "it offers 'sign' more than once"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "register_algorithms must return a list of AlgorithmSpec objects, not None"),
        ({"sign": 1}, "register_algorithms must return AlgorithmSpec objects, not 'sign'"),
        ([ModuleKind], f"register_algorithms must return AlgorithmSpec objects, not {ModuleKind!r}"),
    ],
)
def test_a_hook_that_returns_something_else_is_refused(toys, returned, reason):
    class Plugin:
        @staticmethod
        @hookimpl
        def register_algorithms():
            return returned

    assert failing(toys, Plugin).error == reason


def test_a_hook_may_be_a_generator(toys):
    class Plugin:
        @staticmethod
        @hookimpl
        def register_algorithms():
            yield toys.spec()

    assert Registry([toys.candidate(Plugin)]).find("sign") == toys.spec()


def test_module_kinds_are_gathered(toys):
    kind = ModuleKind(module="farm.Barn", kind="barn")

    class Plugin:
        @staticmethod
        @hookimpl
        def register_module_kinds():
            return [kind]

    assert Registry([toys.candidate(Plugin)]).module_kinds == (kind,)


def test_observers_cannot_be_wrapped(toys):
    class Plugin:
        @staticmethod
        @hookimpl(wrapper=True)
        def on_step(run):
            yield

    assert failing(toys, Plugin).error == "hook 'on_step' cannot be wrapped; only 'run_stage' can"


def test_a_failed_plugin_leaves_no_hooks_behind(toys):
    called = []

    class Plugin:
        @staticmethod
        @hookimpl
        def on_step(run):
            called.append(run)

        @staticmethod
        @hookimpl
        def register_algorithms():
            raise RuntimeError("no luck")

    with pytest.warns(PluginWarning):
        plugins = Registry([toys.candidate(Plugin)])
    plugins.notify("on_step", run="run", step=1)
    assert not called


def test_a_second_entry_point_to_one_module_does_not_disturb_the_first(toys):
    plugin = toys.offering(toys.spec())
    with pytest.warns(PluginWarning):
        plugins = Registry([toys.candidate(plugin, name="first"), toys.candidate(plugin, name="second")])
    assert [record.status for record in plugins.records] == ["active", "failed"]
    assert plugins.records[1].error == "it is loaded already, as plugin toys/first"
    assert plugins.find("sign") == toys.spec()


def test_sound_plugins_are_loaded_in_silence(toys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Registry([toys.candidate(toys.offering(toys.spec()))])


def test_listing_plugins_and_algorithms_imports_no_numerics():
    script = (
        "import sys, corepress\n"
        "from corepress.plugin import registry\n"
        "assert {record.status for record in registry().records} == {'active'}\n"
        "assert {'kmeans', 'magnitude'} <= {spec.name for spec in registry().algorithms()}\n"
        "print({'torch', 'coremltools', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
