"""The domains, one folder each, and the ids under which Gymnasium knows them."""

from tir_gym.envs.registration import (
    compatibility,
    domain_of,
    list_envs,
    make_env,
    make_vec,
    make_vector_env,
    register,
)

register("tir/MathCode-v0", "tir_gym.envs.math_code.env:MathCode")
register("tir/MathCodeStateless-v0", "tir_gym.envs.math_code.env:MathCodeStateless")
register("tir/OpaqueKnapsack-v0", "tir_gym.envs.opaque_knapsack.env:OpaqueKnapsack")
register("tir/SearchQA-v0", "tir_gym.envs.search_qa.env:SearchQA")
register("tir/ToolRetrieval-v0", "tir_gym.envs.tool_retrieval.env:ToolRetrieval")
register("tir/SQL-v0", "tir_gym.envs.sql.env:Sql")
register("tir/SQLWrite-v0", "tir_gym.envs.sql.env:SqlWrite")
register("tir/TableQA-v0", "tir_gym.envs.sql.env:TableQA")

__all__ = ["compatibility", "domain_of", "list_envs", "make_env", "make_vec", "make_vector_env", "register"]
