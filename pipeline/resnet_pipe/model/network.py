"""What an ONNX file says about its own inputs and outputs, read without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ModelError
from resnet_pipe.model.foreign import START, told_by
from resnet_pipe.model.output import Output, outputs_of, shape_text, value_shape, value_type

SEVEN_BITS = 64
"""The largest absolute value of int8 weights whose sums of products saturate nowhere; see `cpu.saturates`."""


_WHOLE_BYTES = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16)
"""ONNX's codes of the types whose values take at least one byte each."""
PARTS = "parts"
"""The name of the input of a second network."""
LARGEST_BATCH = 4096
"""Images in one forward pass."""
PERHAPS_BOXES = "perhaps boxes, as a YOLO gives them; converting it tells"
_CHANNELS = 3
_INPUT_TYPES = ("float32", "float16")


@dataclass(frozen=True)
class Second:
    """A second network in the same file, which is given parts of what the first one gives for an image.

    Attributes:
        shape: of one part, without the axis for their number.
        outputs: the names of what it gives.
    """

    shape: tuple[int, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """Inputs and outputs of a network for images.

    Attributes:
        second: what else is in the file, such as the box head of a Faster R-CNN; or None.
        size: (H, W) of the input if it is fixed, else None.
        sides: H and W of the input, each None if it is not fixed.
        batch_size: images per forward pass if that is fixed, else None.
        data: files next to the ONNX file that hold its weights.
        quantized: whether it computes in int8 (it has QuantizeLinear nodes).
        full_range: whether its int8 weights need more than 7 bits, or how many is unknown.
        input_name: of its only input.
        input_type: of its values: `float32` or `float16`.
    """

    path: Path
    outputs: tuple[Output, ...]
    size: tuple[int, int] | None
    batch_size: int | None = None
    data: tuple[Path, ...] = ()
    quantized: bool = False
    full_range: bool = False
    input_name: str = "input"
    input_type: str = "float32"
    sides: tuple[int | None, int | None] = (None, None)
    second: Second | None = None

    @property
    def of_images(self) -> tuple[Output, ...]:
        """What it gives for an image, without the outputs of a second network."""
        others = self.second.outputs if self.second else ()
        return tuple(one for one in self.outputs if one.name not in others)

    def has_others(self, *, rows: bool) -> bool:
        """Tell whether there is more in the file than is wanted, which a library may not support.

        Args:
            rows: whether outputs are wanted that are one row of numbers for an image.
        """
        odd = not all(one.is_row and one.declared for one in self.outputs)
        return self.second is not None or (rows and odd)

    @property
    def may_find_objects(self) -> bool:
        """Whether its only output has a list for each image, as the boxes of a YOLO."""
        return len(self.outputs) == 1 and len(self.outputs[0].shape or ()) == 3


def inspect(path: Path) -> Network:
    """Read an ONNX file's inputs and outputs, and refuse what cannot be run safely.

    Raises:
        ModelError: not an ONNX file, not a network with one NCHW image input, or its weights lie in files
            outside its own directory.
    """
    model = _read(path)
    _refuse_cut_weights(model, path)
    data = _external_data(model, path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    second = next((value for value in inputs if value.name == PARTS), None) if len(inputs) == 2 else None
    if second is not None:
        inputs.remove(second)
    batch_size, height, width = _image(path, inputs)
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    return Network(
        path=path,
        outputs=outputs_of(model),
        size=(height, width) if height and width else None,
        batch_size=batch_size,
        data=data,
        quantized=quantized,
        full_range=quantized and _full_range(model, path),
        input_name=inputs[0].name,
        input_type=value_type(inputs[0]),
        second=None if second is None else _second(path, model.graph, second),
        sides=(height, width),
    )


def _second(path: Path, graph: Any, parts: Any) -> Second:  # noqa: ANN401
    """Return the network that begins at a second input: all that depends on it."""
    shape = (value_shape(parts) or ())[1:]
    if not shape or None in shape or value_type(parts) != "float32":
        raise ModelError(f"{path}: its second input is {parts.name} {_text(parts)}", "convert it again")
    known = {parts.name}
    for node in graph.node:
        if known.intersection(node.input):
            known.update(node.output)
    names = tuple(value.name for value in graph.output if value.name in known)
    return Second(tuple(length or 0 for length in shape), names)


def _read(path: Path) -> Any:  # noqa: ANN401 - protobuf messages are untyped
    import onnx
    from google.protobuf.message import DecodeError

    if path.exists() and not path.is_file():  # such as a pipe, on which everybody would wait
        raise ModelError(f"{path} is not a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    try:
        model = onnx.load_model_from_string(data)  # whatever the name ends in
    except DecodeError:
        model = None
    if model is None or not model.HasField("graph"):
        problem, remedy = told_by(data[:START]) or _no_network(data)
        raise ModelError(f"{path} {problem}", remedy)
    return model


def _no_network(data: bytes) -> tuple[str, str]:
    if data.startswith((b"PK", b"\x80")):
        problem = "is not an ONNX file, but an archive or a pickle, as torch.save writes checkpoints"
        return problem, "resnet-pipe convert ARCHITECTURE --weights FILE"
    return "is not an ONNX file, or is cut off", "copy it again, or give a file made by `resnet-pipe convert`"


def _image(path: Path, inputs: Sequence[Any]) -> tuple[int | None, int | None, int | None]:
    """Return batch size, height and width of the only input, each None if not fixed, or refuse it."""
    wanted = "expected one image input of shape (N, 3, H, W)"
    if len(inputs) != 1:
        found = ", ".join(f"{value.name} {_text(value)}" for value in inputs) or "none"
        remedy = "export it with the image as its only input" if inputs else None
        raise ModelError(f"{path}: {wanted}; found {found}", remedy)
    (image,) = inputs
    shape = value_shape(image)
    found = f"{path}: {wanted}; found {image.name} {_text(image)}"
    if shape is None or len(shape) != 4:
        raise ModelError(found, "export it for images, with all four axes")
    batch_size, channels, height, width = shape
    if channels not in (_CHANNELS, None) or (channels is None and width == _CHANNELS):
        if width == _CHANNELS:
            raise ModelError(
                f"{found}: channels last (NHWC), as TensorFlow writes it",
                f"export it with channels first, such as with tf2onnx --inputs-as-nchw {image.name}",
            )
        raise ModelError(
            f"{found}: images have {_CHANNELS} channels, not {channels}",
            f"export it for images of {_CHANNELS} channels"
            + (", with their mean, x.mean(1, keepdim=True), before its first layer" if channels == 1 else ""),
        )
    if value_type(image) not in _INPUT_TYPES:
        raise ModelError(
            f"{found} of {value_type(image)}: expected normalised pixels, {' or '.join(_INPUT_TYPES)}",
            "export it with a float32 input",
        )
    if batch_size is not None and batch_size > LARGEST_BATCH:
        raise ModelError(
            f"{found}: batches of {batch_size} images; at most {LARGEST_BATCH} are supported",
            "export it with a dynamic batch size",
        )
    return batch_size, height, width


def _text(value: Any) -> str:  # noqa: ANN401
    shape = value_shape(value)
    if shape:
        return shape_text(shape)
    return "without a shape" if shape is None else "(scalar)"


def _external_data(model: Any, path: Path) -> tuple[Path, ...]:  # noqa: ANN401
    """Return the files in which an ONNX file keeps weights.

    One outside its own directory is refused: a model from someone else may not read what is there.
    """
    directory = path.resolve().parent
    places = {
        entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"
    }
    files = set()
    for place in places:
        try:
            file = (directory / place).resolve()
        except ValueError:  # a zero byte
            file = directory.parent
        if not file.is_relative_to(directory):
            raise ModelError(
                f"{path}: its weights point outside its own directory: {place!r}",
                "use a model that holds its weights, or has them beside it",
            )
        if not file.is_file():
            raise ModelError(f"{path}: its weights are missing: {file}", "copy them there with the model")
        files.add(file)
    return tuple(sorted(files))


def _refuse_cut_weights(model: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse weights with fewer bytes than their shape requires: a library may read beyond them."""
    from onnx import TensorProto, helper

    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.data_type not in _WHOLE_BYTES:
            continue
        wanted = prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        found = len(tensor.raw_data)
        if found != wanted and (found or tensor.ByteSize() < prod(tensor.dims)):
            raise ModelError(
                f"{path}: the weights {tensor.name!r} have {found} bytes; their shape requires {wanted}",
                "copy or download the file again",
            )


def _full_range(model: Any, path: Path) -> bool:  # noqa: ANN401
    """Tell whether int8 weights exceed 7 bits; also if they cannot be read, or are rounded when loaded."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    if any(node.op_type == "QuantizeLinear" and node.input[0] in weights for node in model.graph.node):
        return True
    for tensor in _tensors(model):
        if tensor.data_type == onnx.TensorProto.INT8:
            try:
                values = onnx.numpy_helper.to_array(tensor, str(path.resolve().parent))
            except Exception:  # onnx has none of its own; what is wrong is for the engine to say
                return True
            if values.size and (values.max() > SEVEN_BITS or values.min() < -SEVEN_BITS):
                return True
    return False


def _tensors(message: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield every tensor in a message, wherever it stands: a checker that knows the places can miss one."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in value if isinstance(value, Sequence) else [value]:
            if field.message_type.name == "TensorProto":
                yield child
            else:
                yield from _tensors(child)
