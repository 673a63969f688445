#!/usr/bin/env python3
"""One engine with one model, to be timed or counted: a process of its own, so that its CPU time is its own.

    python3 tests/peers/engines.py onnxruntime|openvino|litert|ncnn|mnn FILE THREADS [f32|fp16] [count]

Answers every line `N` on standard input by N inferences over a picture of zeros and a line of `CPU:WALL`, in
milliseconds, for each. CPU time is that of all threads. With `count`, runs one inference to warm up and one in region 1
of tests/tcg-count. `fp16` lets ncnn and MNN compute in it.
"""
import ctypes
import sys
import time

SHAPE = (1, 3, 224, 224)


# The system call that enters a region of the counter, as in tests/tcg-count.
MARK = 0x7068


def onnxruntime(path, threads, half):
    import numpy
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: numpy.zeros(SHAPE, "f4")}
    return lambda: session.run(None, inputs)


def openvino(path, threads, half):
    import numpy
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    request = ov.Core().compile_model(path, "CPU", settings).create_infer_request()
    picture = numpy.zeros(SHAPE, "f4")
    return lambda: request.infer([picture], share_inputs=True, share_outputs=True)


def litert(path, threads, half):
    import numpy
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    port = interpreter.get_input_details()[0]
    interpreter.set_tensor(port["index"], numpy.zeros(port["shape"], port["dtype"]))
    return interpreter.invoke


def ncnn(path, threads, half):
    """`path` is the file with the layers, NAME.param; NAME.bin has the weights."""
    import ncnn as engine
    import numpy

    net = engine.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    if net.load_param(path) or net.load_model(path.removesuffix("param") + "bin"):
        sys.exit(f"ncnn does not load {path}")
    picture = engine.Mat(numpy.zeros(SHAPE[1:], "f4"))

    def infer():
        extractor = net.create_extractor()
        extractor.input("in0", picture)
        failed, _ = extractor.extract("out0")
        if failed:
            sys.exit("ncnn computes no output")

    return infer


def mnn(path, threads, half):
    import MNN

    interpreter = MNN.Interpreter(path)
    settings = {"backend": "CPU", "precision": "low" if half else "high", "numThread": threads}
    session = interpreter.createSession(settings)
    return lambda: interpreter.runSession(session)


def count(infer):
    mark = ctypes.CDLL(None).syscall
    infer()
    mark(MARK, 1)
    infer()
    mark(MARK, 0)


def main():
    engine, path, threads, *rest = sys.argv[1:]
    engines = {"onnxruntime": onnxruntime, "openvino": openvino, "litert": litert, "ncnn": ncnn, "mnn": mnn}
    infer = engines[engine](path, int(threads), "fp16" in rest)
    if "count" in rest:
        return count(infer)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            cpu, wall = time.process_time(), time.perf_counter()
            infer()
            times.append(f"{(time.process_time() - cpu) * 1e3:.4f}:{(time.perf_counter() - wall) * 1e3:.4f}")
        print(" ".join(times), flush=True)


if __name__ == "__main__":
    main()
