#!/usr/bin/env python3
"""One engine with one model, to be timed: a process of its own, so that its CPU time is its own.

    python3 tests/peers/engines.py onnxruntime|openvino|litert FILE THREADS

Answers every line `N` on standard input by N inferences over a picture of zeros and a line of `CPU:WALL`, in milliseconds,
for each. CPU time is that of all threads.
"""
import sys
import time

SHAPE = (1, 3, 224, 224)


def onnxruntime(path, threads):
    import numpy
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: numpy.zeros(SHAPE, "f4")}
    return lambda: session.run(None, inputs)


def openvino(path, threads):
    import numpy
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    request = ov.Core().compile_model(path, "CPU", settings).create_infer_request()
    picture = numpy.zeros(SHAPE, "f4")
    return lambda: request.infer([picture], share_inputs=True, share_outputs=True)


def litert(path, threads):
    import numpy
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    port = interpreter.get_input_details()[0]
    interpreter.set_tensor(port["index"], numpy.zeros(port["shape"], port["dtype"]))
    return interpreter.invoke


def main():
    engine, path, threads = sys.argv[1:]
    infer = {"onnxruntime": onnxruntime, "openvino": openvino, "litert": litert}[engine](path, int(threads))
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            cpu, wall = time.process_time(), time.perf_counter()
            infer()
            times.append(f"{(time.process_time() - cpu) * 1e3:.4f}:{(time.perf_counter() - wall) * 1e3:.4f}")
        print(" ".join(times), flush=True)


if __name__ == "__main__":
    main()
