"""What several plugins describe at once, or one of them wrongly, disturbs nobody else."""

import sys
import types

import jsonschema
import pytest
from torch import nn

from corepress import Pipeline, Stage
from corepress.config import CompressionConfig, Configuration, ModuleConfig, configuration, layered, option
from corepress.errors import PlanWarning, PluginError
from corepress.pipeline.recipe import recipe_schema
from corepress.plugin import AlgorithmSpec, ModuleKind, WeightLayout, hookimpl
from corepress.testing import plugins_of


def made(decorator, name, base, annotations, values):
    body = {"__annotations__": annotations, "__module__": __name__, **values}
    return decorator(types.new_class(name, (base,), exec_body=lambda namespace: namespace.update(body)))


def algorithm(name, key):
    solver = made(configuration, "Solver", Configuration, {key: int}, {key: option(default=3, doc=key)})
    module = made(
        configuration, f"{name}Module", ModuleConfig, {"solver": solver}, {"solver": option(factory=solver, doc="s")}
    )
    globals()[name] = made(layered, f"{name}Config", CompressionConfig[module], {}, {"module_config": module})
    return AlgorithmSpec(name=name, summary=name, config=f"{__name__}:{name}", implementation="a:B", produces="dense")


def describing(name="Plugin", **hooks):
    return type(name, (), {hook: hookimpl(lambda self, value=value: value) for hook, value in hooks.items()})()


def test_classes_of_one_name_have_schemas_of_their_own():
    specs = [algorithm("first", "steps"), algorithm("second", "rounds")]
    with plugins_of(describing(register_algorithms=specs), beside_installed=True):
        for name, key, other in (("first", "steps", "rounds"), ("second", "rounds", "steps")):
            recipe = {"stages": [{"algorithm": name, "config": {"global_config": {"solver": {key: 5}}}}]}
            jsonschema.validate(recipe, recipe_schema())
            recipe["stages"][0]["config"]["global_config"]["solver"] = {other: 5}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(recipe, recipe_schema())


def test_a_configuration_that_cannot_be_imported_is_left_out_of_the_schema():
    broken = AlgorithmSpec(
        name="broken", summary="x", config="not.there:C", implementation="not.there:D", produces="dense"
    )
    with plugins_of(describing(register_algorithms=[broken]), beside_installed=True):
        with pytest.warns(PlanWarning, match=r"the schema leaves 'broken' out: .*not\.there:C.*cannot be imported"):
            schema = recipe_schema()
        assert "kmeans" in schema["$defs"]
        assert "broken" not in schema["$defs"]


@pytest.mark.parametrize("text", ["raise RuntimeError('no idea')", "def (:", "raise SystemExit(0)"])
def test_a_configuration_whose_module_fails_is_left_out_of_the_schema(text, tmp_path, monkeypatch):
    (tmp_path / "failing_config.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_config", raising=False)
    broken = AlgorithmSpec(
        name="broken", summary="x", config="failing_config:C", implementation="not.there:D", produces="dense"
    )
    with plugins_of(describing(register_algorithms=[broken]), beside_installed=True):
        with pytest.warns(PlanWarning, match=r"the schema leaves 'broken' out: .*failing_config:C.*cannot be imported"):
            schema = recipe_schema()
        assert "broken" not in schema["$defs"]


def gru(module, parameter):
    kind = ModuleKind(module=module, kind="gru", weights=(WeightLayout(parameter=parameter),))
    return describing(parameter, register_module_kinds=[kind])


def test_a_module_class_may_be_given_by_its_public_name():
    with plugins_of(gru("torch.nn.GRU", "weight_ih_l0"), beside_installed=True):
        plan = Pipeline([Stage("kmeans")]).plan(nn.GRU(8, 8))
        assert [row.name for row in plan.done] == ["weight_ih_l0"]


def test_two_plugins_for_one_module_class_are_named_where_the_class_is_met():
    first, second = gru("torch.nn.GRU", "weight_ih_l0"), gru("torch.nn.modules.rnn.GRU", "weight_hh_l0")
    with plugins_of(first, second, beside_installed=True):
        assert Pipeline([Stage("kmeans")]).plan(nn.Linear(8, 8)).done
        with pytest.raises(PluginError, match=r"torch\.nn\.modules\.rnn\.GRU is described by several plugins: "):
            Pipeline([Stage("kmeans")]).plan(nn.Sequential(nn.GRU(8, 8)))
