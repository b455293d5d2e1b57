"""CUDA's own figures, with a driver library in place of libcuda."""

import ctypes
from types import SimpleNamespace

import pytest

from fake_nvml import GIB, NVMLError
from ullage.devices import Gpu, confirm_free, driver
from ullage.devices.driver import CudaMemory, read

GPU = Gpu(3, "NVIDIA L4", 24 * GIB, 20 * GIB, "GPU-3d")


class FakeDriver:
    """`failing` maps a function to the code it returns. A context takes half a GiB."""

    def __init__(self, free=20 * GIB, **failing):
        self.free, self.failing, self.asked = free, failing, []

    def __getattr__(self, name):
        def call(*arguments):
            self.asked.append((name, *(a for a in arguments if isinstance(a, int))))
            code = self.failing.get(name, 0)
            if code == 0:
                self.answer(name, arguments)
            return code

        return call

    def answer(self, name, arguments):
        # ctypes.byref keeps what it points to in `_obj`.
        if name == "cuDevicePrimaryCtxRetain":
            self.free -= GIB // 2
        if name == "cuMemGetInfo_v2":
            arguments[0]._obj.value, arguments[1]._obj.value = self.free, 23 * GIB
        if name == "cuDeviceTotalMem_v2":
            arguments[0]._obj.value = 23 * GIB


class FakeNvml:
    NVMLError = NVMLError

    def __init__(self, driver, error=None):
        self.driver, self.error = driver, error

    def nvmlInit(self):
        if self.error:
            raise self.error

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(free=self.driver.free)


def test_figures_come_with_the_size_of_the_context_that_was_needed():
    cuda = FakeDriver()
    assert read(0, "GPU-3d", cuda, FakeNvml(cuda)) == CudaMemory(20 * GIB - GIB // 2, 23 * GIB, GIB // 2)
    assert ("cuDeviceGet", 0) in cuda.asked


@pytest.mark.parametrize("uuid", ["", "GPU-3d"])
def test_without_nvml_the_context_counts_as_taken(uuid):
    cuda = FakeDriver()
    assert read(2, uuid, cuda, FakeNvml(cuda, NVMLError(12, "none"))).context_bytes is None
    assert ("cuDeviceGet", 2) in cuda.asked


def test_a_device_too_full_for_a_context_has_nothing_free():
    cuda = FakeDriver(cuDevicePrimaryCtxRetain=driver.OUT_OF_MEMORY)
    assert read(0, "", cuda) == CudaMemory(0, 23 * GIB)


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent",
                                  "cuMemGetInfo_v2"])
def test_a_driver_that_fails_has_no_figures(call):
    assert read(0, "", FakeDriver(**{call: 999})) is None


def ask(monkeypatch, answer):
    """What the short-lived process says, in place of what it would ask the driver."""
    monkeypatch.setattr(driver, "ASK", f"import os, sys; {answer}")


def test_the_asking_process_sees_that_gpu_alone(monkeypatch):
    ask(monkeypatch, "right = [os.environ['CUDA_VISIBLE_DEVICES'], *sys.argv[1:]] == ['GPU-3d', '0', 'GPU-3d'];"
                     "print('{\"free_bytes\": %d, \"total_bytes\": 9, \"context_bytes\": 2}' % (5 * right))")
    assert confirm_free(GPU, {"CUDA_VISIBLE_DEVICES": "7"}) == 7


def test_a_gpu_without_a_uuid_is_asked_by_its_number(monkeypatch):
    ask(monkeypatch, "print('{\"free_bytes\": %s, \"total_bytes\": 9}' % sys.argv[1])")
    assert confirm_free(Gpu(3, "GRID", 9, 9), {}) == 3


@pytest.mark.parametrize("answer", ["print('null')", "sys.exit(1)", "os.kill(os.getpid(), 9)"])
def test_where_cuda_does_not_run_nothing_is_confirmed(monkeypatch, answer):
    ask(monkeypatch, answer)
    assert confirm_free(GPU, {}) is None


def test_a_driver_that_hangs_is_given_up(monkeypatch):
    ask(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(driver, "TIMEOUT_S", 0.2)
    assert confirm_free(GPU, {}) is None


def test_without_the_library_the_process_says_so(monkeypatch, capsys):
    monkeypatch.setattr(driver, "LIBRARY", "libcuda-is-not-here.so.1")
    driver.main(["0", ""])
    assert capsys.readouterr().out == "null\n"


def test_the_real_process_answers_as_this_machine_can():
    try:
        ctypes.CDLL(driver.LIBRARY)
    except OSError:
        assert confirm_free(GPU) is None
    else:
        assert confirm_free(Gpu(0, "first", 1, 1)) != 0
