"""The tensors that an operator reads and makes, or the sentence that says which it lacks."""

from __future__ import annotations

from compressor.export.reading.contents import Contents, OperatorRead, TensorRead


def operand(contents: Contents, operator: OperatorRead, n: int, rank: int = 0) -> TensorRead:
    """The `n`-th input of an operator, of at least `rank` dimensions.

    Raises:
        ValueError: If there is none, or it has fewer dimensions: the file is damaged.
    """
    there = n < len(operator.inputs) and operator.inputs[n] >= 0
    tensor = contents.tensors[operator.inputs[n]] if there else None
    return _of_rank(contents, operator, tensor, f"input {n}", rank)


def result(contents: Contents, operator: OperatorRead, rank: int = 0) -> TensorRead:
    """The first output of an operator; errors as for `operand`."""
    tensor = contents.tensors[operator.outputs[0]] if operator.outputs else None
    return _of_rank(contents, operator, tensor, "output 0", rank)


def _of_rank(
    contents: Contents, operator: OperatorRead, tensor: TensorRead | None, what: str, rank: int
) -> TensorRead:
    if tensor is None or len(tensor.shape) < rank:
        has = "is missing" if tensor is None else f"has the shape {tensor.shape}"
        place = contents.operators.index(operator)
        raise ValueError(
            f"{contents.name} is no .tflite file that can be counted: {what} of operator {place}, "
            f"{operator.name}, {has}, and it should have {rank} dimensions"
        )
    return tensor
