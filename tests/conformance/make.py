#!/usr/bin/env python3
"""Writes cases.npz: the ONNX operator cases of the operators that mpcc imports.

usage: make.py          (needs the Python packages numpy and onnx; 1.23.2 made the stored file)

The onnx package (Apache-2.0) generates its backend node cases in memory. Parameters that a real
network holds as constants (shapes, axes, weights, bounds) become initialisers; tensors of data stay
inputs. Left out are cases in types that numpy cannot store. Of the three-dimensional pooling cases
only the small ones are kept: they are refused whatever their size.

An archive entry `<case>/model` holds the bytes of model.onnx, `<case>/op` the operator's name,
`<case>/input_<k>` and `<case>/output_<k>` the tensors as float32 or int64 in the model's order.
"""
import io
import os
import warnings
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader

OPERATORS = set(
    """Abs Add ArgMax AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv
    ConvTranspose DepthToSpace Div Dropout Expand Flatten Gather Gemm GlobalAveragePool GlobalMaxPool
    HardSigmoid HardSwish Identity LeakyRelu MatMul Max MaxPool Mean Min Mul Neg PRelu Pad Pow Range
    ReduceL1 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Relu Reshape Resize Shape Sigmoid
    Size Slice Softmax SpaceToDepth Split Squeeze Sub Sum Tile Transpose Unsqueeze Upsample""".split()
)
# Inputs, by position, that a real network holds as constants.
CONSTANT = {
    "Reshape": [1], "Squeeze": [1], "Unsqueeze": [1], "Slice": [1, 2, 3, 4], "Pad": [1, 2, 3],
    "Clip": [1, 2], "Expand": [1], "Tile": [1], "Split": [1], "Resize": [1, 2, 3], "Upsample": [1],
    "ReduceSum": [1], "ReduceMean": [1], "ReduceMax": [1], "ReduceMin": [1], "ReduceL1": [1],
    "ReduceSumSquare": [1], "Dropout": [1, 2], "Gather": [1], "Conv": [1, 2], "ConvTranspose": [1, 2],
    "Gemm": [1, 2], "BatchNormalization": [1, 2, 3, 4], "PRelu": [1], "Div": [1], "Pow": [1],
}
STORABLE = {np.dtype(t) for t in ("f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "u2", "u4", "u8", "?")}
LARGEST = 400_000


def plain(x):
    if isinstance(x, onnx.TensorProto):
        try:
            return numpy_helper.to_array(x)
        except Exception:
            return x
    return np.array(x) if isinstance(x, np.generic) else x


def with_constants(model, inputs):
    """The model with its parameters as initialisers, and the inputs that are left."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    names = [i.name for i in out.graph.input]
    if len(out.graph.node) != 1:
        return out, inputs
    node = out.graph.node[0]
    held = {node.input[i] for i in CONSTANT.get(node.op_type, []) if i < len(node.input)} & set(names)
    if names and len(held) == len(names):
        held.discard(names[0])
    for name, value in zip(names, inputs):
        if name in held:
            out.graph.initializer.append(numpy_helper.from_array(np.array(value, order="C"), name))
    kept = [i for i in out.graph.input if i.name not in held]
    del out.graph.input[:]
    out.graph.input.extend(kept)
    return out, [x for name, x in zip(names, inputs) if name not in held]


def stored(x):
    kind = np.float32 if x.dtype.kind == "f" else np.int64
    return np.array(x, dtype=kind, order="C")


def main():
    warnings.filterwarnings("ignore")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.npz")
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def write(name, array):
            data = io.BytesIO()
            np.save(data, array)
            # A fixed date keeps the file the same from run to run.
            archive.writestr(zipfile.ZipInfo(name + ".npy", (2000, 1, 1, 0, 0, 0)), data.getvalue(),
                             zipfile.ZIP_DEFLATED)

        for case in sorted(loader.load_model_tests(kind="node"), key=lambda c: c.name):
            ops = {n.op_type for n in case.model.graph.node}
            if "_expanded" in case.name or not ops <= OPERATORS:
                continue
            inputs, outputs = ([plain(x) for x in xs] for xs in case.data_sets[0])
            if not all(isinstance(x, np.ndarray) and x.dtype in STORABLE for x in inputs + outputs):
                continue
            if sum(x.nbytes for x in inputs + outputs) > LARGEST:
                continue
            model, inputs = with_constants(case.model, inputs)
            model.graph.ClearField("doc_string")
            write(f"{case.name}/model", np.frombuffer(model.SerializeToString(deterministic=True), np.uint8))
            write(f"{case.name}/op", np.frombuffer(case.model.graph.node[-1].op_type.encode(), np.uint8))
            for kind, tensors in (("input", inputs), ("output", outputs)):
                for k, x in enumerate(tensors):
                    write(f"{case.name}/{kind}_{k}", stored(x))
            count += 1
    print(count, "cases,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
