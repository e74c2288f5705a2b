import json

from corepress.plugin import Registry, using_registry


def test_each_algorithm_is_shown_with_what_it_needs_and_produces(run):
    result = run("algorithms")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    position = lines.index("magnitude  (corepress)")
    assert lines[position + 1].startswith("    Prune the weights of smallest magnitude")
    assert lines[position + 2].startswith("    kind: weight, training; needs: nothing; produces: sparsity; targets: ")


def test_json_holds_the_same_facts(run):
    facts = {each["name"]: each for each in json.loads(run("algorithms", "--json").stdout)}
    assert set(facts["magnitude"]) == {"name", "summary", "kind", "needs", "produces", "targets", "provider"}
    assert facts["magnitude"]["kind"] == ["weight", "training"]
    assert facts["magnitude"]["provider"] == "corepress"


def test_without_plugins_the_way_out_is_named(run):
    with using_registry(Registry([])):
        assert run("algorithms").stdout == "no algorithms are installed; see 'corepress plugins'\n"
