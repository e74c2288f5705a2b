import copy
import pickle
import subprocess
import sys
import threading

import pytest

from corepress.errors import UnknownAlgorithmError
from corepress.plugin import PluginWarning, Registry, registry, using_registry


def refused(plugins, name):
    with pytest.raises(UnknownAlgorithmError) as caught:
        plugins.find(name)
    return str(caught.value)


@pytest.fixture
def rivals(toys):
    return Registry(
        [
            toys.candidate(toys.offering(toys.spec(summary="Ours.")), distribution="ours"),
            toys.candidate(toys.offering(toys.spec(summary="Theirs.")), distribution="theirs"),
            toys.candidate(toys.offering(toys.spec("other")), name="more"),
        ]
    )


def test_an_algorithm_is_found_by_its_name(rivals, toys):
    assert rivals.find("other") == toys.spec("other")
    assert rivals.provider(rivals.find("other")).identity == "toys/more"


def test_two_providers_of_one_name_are_an_error_only_when_it_is_used(rivals):
    assert refused(rivals, "sign") == (
        "algorithm 'sign' is offered by several plugins; say which: 'ours/sign', 'theirs/sign'"
    )


def test_a_bare_name_is_that_of_the_built_in_algorithm(toys):
    plugins = Registry(
        [
            toys.candidate(toys.offering(toys.spec(summary="Built in.")), distribution="corepress"),
            toys.candidate(toys.offering(toys.spec(summary="Theirs.")), distribution="theirs"),
        ]
    )
    assert plugins.find("sign").summary == "Built in."
    assert plugins.find("theirs/sign").summary == "Theirs."


@pytest.mark.parametrize(("distribution", "summary"), [("ours", "Ours."), ("theirs", "Theirs.")])
def test_the_distribution_decides_between_them(rivals, distribution, summary):
    assert rivals.find(f"{distribution}/sign").summary == summary


def test_an_unknown_name_is_told_the_nearest(rivals):
    assert refused(rivals, "othre") == "unknown algorithm 'othre'; did you mean 'other'?"


def test_a_name_like_no_other_is_told_all(rivals):
    assert refused(rivals, "xyzzy") == "unknown algorithm 'xyzzy'; known: other, sign"


def test_a_known_name_of_another_distribution_is_unknown(rivals):
    assert refused(rivals, "mine/other") == "unknown algorithm 'mine/other'; did you mean 'other'?"


def test_failed_and_blocked_plugins_are_named_where_an_algorithm_is_missing(toys):
    with pytest.warns(PluginWarning):
        plugins = Registry(
            [
                toys.candidate(RuntimeError("no luck"), name="broken"),
                toys.candidate(toys.offering(toys.spec()), name="shut"),
            ],
            block=["shut"],
        )
    assert refused(plugins, "sign") == (
        "unknown algorithm 'sign'; known: none; plugins that failed to load: toys/broken (RuntimeError: no luck); "
        "blocked plugins: toys/shut"
    )


def test_the_registry_of_the_process_is_made_once():
    assert registry() is registry()


def test_another_registry_may_be_used_for_a_while(rivals):
    before = registry()
    with using_registry(rivals) as current:
        assert current is rivals
        assert registry() is rivals
        with using_registry(before):
            assert registry() is before
        assert registry() is rivals
    assert registry() is before


def test_an_error_inside_ends_the_use_of_another_registry(rivals):
    before = registry()
    with pytest.raises(KeyError), using_registry(rivals):
        raise KeyError
    assert registry() is before


def test_a_copied_description_has_the_same_provider(rivals):
    spec = rivals.find("other")
    for twin in (copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert twin is not spec
        assert rivals.provider(twin) is rivals.provider(spec)


def test_equal_descriptions_of_two_plugins_are_told_apart(toys):
    plugins = Registry(
        [toys.candidate(toys.offering(toys.spec()), distribution=distribution) for distribution in ("ours", "theirs")]
    )
    for distribution in ("ours", "theirs"):
        assert plugins.provider(plugins.find(f"{distribution}/sign")).distribution == distribution


def test_an_algorithm_that_nobody_offers_has_no_provider(rivals, toys):
    with pytest.raises(UnknownAlgorithmError, match=r"^no plugin offers algorithm 'mine' so described; known: other"):
        rivals.provider(toys.spec("mine"))


FIRST_USE = """
import sys, threading
from corepress.plugin import registry
sys.setswitchinterval(1e-6)
ready, found = threading.Barrier(8), []

def use():
    ready.wait()
    found.append(registry())

threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(set(map(id, found))), found[0] is registry())
"""


def test_threads_that_ask_first_at_once_get_one_registry():
    found = subprocess.run([sys.executable, "-c", FIRST_USE], check=True, capture_output=True, text=True)
    assert found.stdout == "1 True\n"


def test_every_thread_sees_the_registry_that_it_has_put_in_use():
    before, both, seen = registry(), threading.Barrier(2), {}

    def use(mine):
        with using_registry(mine):
            both.wait()
            seen[id(mine)] = registry()
            both.wait()

    mine = [Registry(()), Registry(())]
    threads = [threading.Thread(target=use, args=(each,)) for each in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seen[id(each)] for each in mine] == mine
    assert registry() is before


def test_a_thread_without_a_registry_of_its_own_sees_the_one_in_use(rivals):
    seen = []
    with using_registry(rivals):
        thread = threading.Thread(target=lambda: seen.append(registry()))
        thread.start()
        thread.join()
    assert seen == [rivals]


def test_uses_that_end_in_another_order_leave_nothing_behind(rivals):
    before = registry()
    first, second = using_registry(rivals), using_registry(Registry(()))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(registry()))
    thread.start()
    thread.join()
    assert seen == [before]
