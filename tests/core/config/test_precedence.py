import pytest
from hypothesis import given
from hypothesis import strategies as st

from corepress.config import Alias, Rule, Rules, Subject, resolve
from corepress.errors import ConfigError

LINEAR = frozenset({"Linear", "torch.nn.Linear"})
CONV = frozenset({"Conv2d", "torch.nn.Conv2d"})
MINE = frozenset({"MyLinear", "my.MyLinear"})
MHA = frozenset({"MultiheadAttention"})


def subject(name, *types):
    return Subject(f"{name}.weight", (Alias((f"{name}.weight", name), types),))


NET = (subject("conv1", CONV), subject("layer1.0.conv", CONV), subject("fc", LINEAR), subject("head", MINE, LINEAR))


def rules(names=(), types=(), default=None, **options):
    return Rules(names=dict(names), types=dict(types), default=default, **options)


def outcome(resolution):
    return {name: (match.config, str(match.rule)) for name, match in resolution.matches.items()}


def complaint(*args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        resolve(*args, **kwargs)
    return str(caught.value)


def test_name_wins_over_pattern_over_type_over_global():
    found = resolve(rules({".*conv.*": "pattern", "conv1": "name"}, {"Linear": "type", "Conv2d": "x"}, "global"), NET)
    assert outcome(found) == {
        "conv1.weight": ("name", "module_name_configs['conv1']"),
        "layer1.0.conv.weight": ("pattern", "module_name_configs['.*conv.*']"),
        "fc.weight": ("type", "module_type_configs['Linear']"),
        "head.weight": ("type", "module_type_configs['Linear']"),
    }
    assert found.unmatched == ()
    assert outcome(resolve(rules(default="g"), NET[:1])) == {"conv1.weight": ("g", "global_config")}


def test_only_an_exact_name_is_named():
    assert Rule("name", "fc", "names").named
    assert not any(Rule(level).named for level in ("pattern", "type", "global", "none"))


def test_without_any_rule_a_subject_is_left_alone():
    assert outcome(resolve(rules({"fc": 1}), NET[2:])) == {
        "fc.weight": (1, "module_name_configs['fc']"),
        "head.weight": (None, "no rule"),
    }


def test_a_matched_none_stops_the_search():
    found = resolve(rules({"fc": None}, {"Linear": 1}, 2), NET[2:3])
    assert outcome(found) == {"fc.weight": (None, "module_name_configs['fc']")}


def test_the_first_listed_pattern_wins():
    assert outcome(resolve(rules({"f.*": 1, ".c|x": 2}), NET[2:3])) == {"fc.weight": (1, "module_name_configs['f.*']")}
    assert outcome(resolve(rules({".c|x": 2, "f.*": 1}), NET[2:3])) == {"fc.weight": (2, "module_name_configs['.c|x']")}


def test_a_pattern_must_match_a_whole_name():
    assert resolve(rules({"on[v]1": 1}), NET[:1]).unmatched == ("module_name_configs['on[v]1'] matches no weight",)


def test_a_dot_alone_makes_no_pattern():
    text = complaint(rules({"layer1.0.con.": 1}), NET)
    assert text == (
        "module_name_configs['layer1.0.con.']: nothing in the model has the name 'layer1.0.con.'; "
        "did you mean 'layer1.0.conv'?"
    )


def test_the_exact_name_of_something_is_no_pattern_whatever_its_signs():
    strange = subject("a[0]", LINEAR)
    found = resolve(rules({"a[0]": 1}), [strange, subject("a0", LINEAR)])
    assert found.matches["a[0].weight"].rule == Rule("name", "a[0]", "module_name_configs")
    assert found.matches["a0.weight"].config is None


def test_the_most_specific_name_of_an_alias_wins():
    attention = Subject("w", (Alias(("mha.out.weight", "mha.out", "mha"), (MHA,)),))
    assert resolve(rules({"mha": 1, "mha.out": 2}), [attention]).matches["w"].config == 2
    assert resolve(rules({"mha": 1}), [attention]).matches["w"].config == 1


def test_the_nearest_class_wins():
    found = resolve(rules(types={"Linear": 1, "MyLinear": 2}), NET)
    assert found.matches["head.weight"].config == 2
    assert found.matches["fc.weight"].config == 1


def test_two_spellings_of_one_class_are_an_error():
    assert complaint(rules(types={"Linear": 1, "torch.nn.Linear": 1}), NET) == (
        "module_type_configs['Linear'] and module_type_configs['torch.nn.Linear'] are about the same class; "
        "keep one of them"
    )


def tied(*names):
    return Subject("tied", tuple(Alias((f"{name}.weight", name), (kind,)) for name, kind in names))


def test_for_a_shared_weight_the_more_specific_level_wins():
    shared = tied(("embed", CONV), ("head", LINEAR))
    assert resolve(rules({"head": 1}, {"Conv2d": 2}), [shared]).matches["tied"].config == 1
    assert resolve(rules({"head": None, "emb.*": 3}, {"Conv2d": 2}), [shared]).matches["tied"].config is None
    assert resolve(rules({"head": 1, "embed": 1}), [shared]).matches["tied"].config == 1


@pytest.mark.parametrize("other", [2, None])
def test_a_shared_weight_cannot_be_asked_for_two_things(other):
    assert complaint(rules({"head": other, "embed": 1}), [tied(("embed", CONV), ("head", LINEAR))]) == (
        "'embed.weight' and 'head.weight' share one weight, but module_name_configs['embed'] and "
        "module_name_configs['head'] ask for different things; give both the same configuration"
    )


def test_a_name_without_compressible_weight_may_only_be_left_alone():
    assert resolve(rules({"bn1": None}), NET, known_names=["bn1"]).unmatched == ()
    assert complaint(rules({"bn1": 1}), NET, known_names=["bn1"]) == (
        "module_name_configs['bn1']: 'bn1' has no compressible weight; remove the rule, or set it to null"
    )


@pytest.mark.parametrize("value", [1, None])
def test_a_name_that_only_holds_others_is_answered_with_the_pattern(value):
    assert complaint(rules({"layer1": value}), NET, known_names=["layer1"]) == (
        r"module_name_configs['layer1']: 'layer1' has no weight of its own; use the pattern 'layer1\\..*' "
        "to select all inside"
    )


def test_an_unknown_type_is_answered_with_the_nearest():
    assert complaint(rules(types={"Liner": 1}), NET, known_types=["Conv3d"]) == (
        "module_type_configs['Liner']: unknown type 'Liner'; did you mean 'Linear'?"
    )


def test_what_selects_nothing_is_told_and_with_strict_refused():
    idle = rules({"x.*": 1}, {"Conv3d": 1}, 1)
    messages = ("module_name_configs['x.*'] matches no weight", "module_type_configs['Conv3d'] matches no weight")
    assert resolve(idle, NET, known_types=["Conv3d"]).unmatched == messages
    text = complaint(idle, NET, known_types=["Conv3d"], strict=True)
    assert text == "2 problems\n  " + "\n  ".join(messages)


def test_a_rule_that_others_overrule_is_not_idle():
    assert resolve(rules({"fc": 1, "[f].": 2, "f.*": 2}, {"Linear": 3}), NET[2:3]).unmatched == ()


def test_all_mistakes_are_raised_at_once_with_their_origins_and_sections():
    places = {"op_name_configs.a(": "r.yaml, line 2", "op_type_configs.Foo": "r.yaml, line 5"}
    asked = rules({"a(": 1, "fcc": 1}, {"Foo": 1}, name_section="op_name_configs", type_section="op_type_configs",
                  origin=places.get)  # fmt: skip
    assert complaint(asked, NET) == (
        "3 problems\n"
        "  op_name_configs['a('] (r.yaml, line 2): not a valid regular expression: "
        "missing ), unterminated subpattern at position 1\n"
        "  op_name_configs['fcc']: nothing in the model has the name 'fcc'; did you mean 'fc'?\n"
        "  op_type_configs['Foo'] (r.yaml, line 5): unknown type 'Foo'; give a class of the model or the name of one"
    )


def test_the_rules_of_a_configuration_are_its_levels(sample):
    config = sample.Pruner().set_module_type("Linear", None).set_module_name("fc", {"exact": False})
    found = resolve(config.rules(), NET)
    assert [found.matches[s.name].config for s in NET] == [sample.Module(), sample.Module(), sample.Module(exact=False),
                                                           None]  # fmt: skip


values = st.sampled_from([None, 1, 2, 3])
exact_rules = st.dictionaries(st.sampled_from(["conv1", "layer1.0.conv", "fc", "head", "head.weight"]), values)
patterns = st.dictionaries(st.sampled_from([".*", "conv.*", "f.*|h.*", r"layer\d.*", "zz+"]), values)
types = st.dictionaries(st.sampled_from(["Linear", "MyLinear", "Conv2d"]), values)


@given(exact_rules, patterns, types, values, st.randoms(use_true_random=False))
def test_the_order_of_names_of_types_and_of_subjects_does_not_matter(names, listed, kinds, default, random):
    def shuffled(mapping):
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    subjects = list(NET)
    random.shuffle(subjects)
    first = resolve(rules({**names, **listed}, kinds, default), NET)
    second = resolve(rules({**listed, **shuffled(names)}, shuffled(kinds), default), subjects)
    assert first.matches == second.matches
    assert set(first.unmatched) == set(second.unmatched)


@given(exact_rules, patterns, types, values)
def test_each_subject_is_decided_alone(names, listed, kinds, default):
    asked = rules({**names, **listed}, kinds, default)
    together = resolve(asked, NET)
    every_name = [name for subject in NET for alias in subject.aliases for name in alias.names]
    for one in NET:
        relevant = rules(
            {key: value for key, value in asked.names.items() if key not in every_name or key in one.aliases[0].names},
            {key: value for key, value in kinds.items() if any(key in kind for kind in one.aliases[0].types)},
            default,
        )
        assert resolve(relevant, [one]).matches[one.name] == together.matches[one.name]


@given(exact_rules, patterns, types, values)
def test_an_exact_rule_changes_nothing_but_its_subject(names, listed, kinds, default):
    before = resolve(rules({**listed, **names}, kinds, default), NET).matches
    after = resolve(rules({**listed, **names, "fc": 9}, kinds, default), NET).matches
    assert after["fc.weight"].config == 9
    assert {**after, "fc.weight": None} == {**before, "fc.weight": None}
