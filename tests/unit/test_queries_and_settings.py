"""Functions that ask about tensors and settings, truthful answers about devices, and the derivative helpers of autograd."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid as torch
from pellucid import backends, cuda
from pellucid.autograd import functional


def test_questions_about_tensors():
    x = torch.ones(2, 3)
    assert torch.is_tensor(x) and not torch.is_tensor([1])
    assert torch.is_same_size(x, torch.zeros(2, 3)) and x.is_same_size(torch.zeros(2, 3)) and not x.is_same_size(torch.zeros(3))
    assert torch.is_signed(x) and x.is_signed() and not torch.is_signed(x.to(torch.uint8))
    assert not torch.is_conj(x) and not torch.is_neg(x) and not x.is_conj() and not x.is_neg()
    assert torch.is_nonzero(torch.tensor([2.0])) and not torch.is_nonzero(torch.tensor(0))
    with pytest.raises(RuntimeError, match="ambiguous"):
        torch.is_nonzero(x)
    assert torch.typename(x) == "torch.FloatTensor" and torch.typename(3) == "int"
    assert x.ndimension() == 2 and x.nelement() == 6 and x.get_device() == -1 and x.output_nr == 0
    flags = ("is_ipu", "is_meta", "is_mkldnn", "is_mps", "is_nested", "is_quantized", "is_sparse", "is_sparse_csr", "is_xpu", "retains_grad")
    assert x.is_cpu and not any(getattr(x, f) for f in flags)
    with torch.inference_mode():
        y = x + 1
    assert torch.is_inference(y) and y.is_inference() and not x.is_inference()


def test_types_meet_as_in_pytorch():
    assert torch.promote_types(torch.uint8, torch.int8) is torch.int16
    assert torch.promote_types(torch.float16, torch.bfloat16) is torch.float32
    assert torch.result_type(torch.ones(2, dtype=torch.int32), 1.5) is torch.float32
    assert torch.result_type(torch.tensor(1, dtype=torch.int64), torch.ones(2, dtype=torch.int8)) is torch.int8
    assert torch.can_cast(torch.float64, torch.int32) is False and torch.can_cast(torch.int8, torch.float32)
    info = torch.finfo(torch.bfloat16)
    assert (info.bits, info.eps, info.dtype) == (16, 0.0078125, "bfloat16") and "finfo(" in repr(info)
    assert torch.iinfo(torch.int8).max == 127


def test_settings_are_kept_and_restored():
    threads = torch.get_num_threads(), torch.get_num_interop_threads()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    assert torch.get_num_threads() == 1 == torch.get_num_interop_threads()
    torch.set_num_threads(threads[0])
    torch.set_num_interop_threads(threads[1])
    with pytest.raises(RuntimeError, match="positive"):
        torch.set_num_threads(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    torch.set_warn_always(True)
    assert torch.is_warn_always_enabled()
    torch.set_warn_always(False)
    assert torch.set_flush_denormal(True) is False
    torch.set_default_dtype(torch.float64)
    assert torch.tensor([1.0]).dtype is torch.float64
    torch.set_default_dtype(torch.float32)
    with pytest.raises(TypeError):
        torch.set_default_dtype(torch.int32)


def test_memory_formats_and_typed_storages():
    assert torch.ones(1, 2, 3, 3).contiguous(memory_format=torch.channels_last).is_contiguous(memory_format=torch.channels_last)
    assert torch.ones(2).clone(memory_format=torch.preserve_format).is_contiguous(memory_format=torch.contiguous_format)
    names = {"BFloat16": torch.bfloat16, "Char": torch.int8, "Half": torch.float16, "Int": torch.int32, "Short": torch.int16}
    for name, dtype in names.items():
        assert getattr(torch, name + "Tensor")([1, 2]).dtype is dtype
    for name in ("BFloat16Storage", "CharStorage", "HalfStorage", "ComplexDoubleStorage", "ComplexFloatStorage"):
        assert getattr(torch, name)(3).size() == 3
    assert (torch.CharTensor([1]).tolist(), torch.HalfTensor(2).shape, torch.IntTensor([3]).item(), torch.ShortTensor([4]).item()) == ([1], (2,), 3, 4)
    assert torch.BFloat16Tensor([1.5]).item() == 1.5


def test_devices_answer_truthfully():
    assert not cuda.is_available() and not cuda.is_initialized() and cuda.device_count() == 0
    for call in (cuda.current_device, cuda.get_device_name, cuda.synchronize):
        with pytest.raises(RuntimeError, match="no CUDA device"):
            call()
    assert cuda.manual_seed(1) is cuda.manual_seed_all(1) is cuda.seed_all() is cuda.empty_cache() is None
    for module in (backends.cuda, backends.cudnn, backends.mkl, backends.mkldnn, backends.mps, backends.openmp):
        assert module.is_available() is False
    for module in (backends.cudnn, backends.mkldnn):
        with module.flags(enabled=True, deterministic=True):
            assert module.enabled and module.deterministic and module.allow_tf32
        assert not (module.enabled or module.deterministic or module.allow_tf32)
    assert backends.mps.is_built() is False and backends.cudnn.version() is None


def test_what_scripts_ask_of_devices():
    assert not (cuda.is_bf16_supported() or cuda.is_tf32_supported() or cuda.get_arch_list() or cuda.memory_stats() or cuda.get_rng_state_all())
    assert 0 == cuda.memory_allocated() == cuda.max_memory_allocated() == cuda.memory_reserved() == cuda.max_memory_reserved()
    assert cuda.reset_peak_memory_stats() is cuda.set_rng_state_all([]) is None
    for call in (lambda: cuda.set_device(0), cuda.get_device_capability, cuda.get_device_properties, cuda.mem_get_info, cuda.get_rng_state,
                 lambda: cuda.set_rng_state(torch.get_rng_state()), lambda: cuda.set_rng_state_all([torch.get_rng_state()])):
        with pytest.raises(RuntimeError, match="no CUDA device"):
            call()
    assert torch.cpu.is_available() and torch.cpu.device_count() == 1 and torch.cpu.current_device() == "cpu" and torch.cpu.synchronize() is None
    assert torch.accelerator.current_accelerator() is None
    for call in (torch.accelerator.current_device_index, lambda: torch.accelerator.set_device_index(0), torch.accelerator.synchronize):
        with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is available"):
            call()
    for module in (torch.accelerator, torch.xpu, torch.mps, torch.mtia):
        assert module.is_available() is False and module.device_count() == 0
    for module in (torch.xpu, torch.mps, torch.mtia):
        assert module.empty_cache() is module.manual_seed(0) is None
    assert torch.compiler.is_exporting() is False


def test_switches_keep_what_is_set():
    assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("high")
    with pytest.warns(UserWarning, match="low is not one of 'highest', 'high', or 'medium'"):
        torch.set_float32_matmul_precision("low")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    for switch, asked in ((backends.cuda.enable_flash_sdp, backends.cuda.flash_sdp_enabled), (backends.cuda.enable_math_sdp, backends.cuda.math_sdp_enabled),
                          (backends.cuda.enable_mem_efficient_sdp, backends.cuda.mem_efficient_sdp_enabled),
                          (backends.cuda.enable_cudnn_sdp, backends.cuda.cudnn_sdp_enabled)):
        assert asked()
        switch(False)
        assert not asked()
        switch(True)
    torch._assert(True, "fine")
    with pytest.raises(AssertionError, match="three"):
        torch._assert(1 + 1 == 3, "three")


def cubes(x):
    return (x ** 3).sum()


def test_derivatives_of_functions():
    x = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    v = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    want = np.diag(6 * x.numpy())
    assert np.allclose(functional.hessian(cubes, x).numpy(), want)
    assert np.allclose(functional.hvp(cubes, x, v)[1].numpy(), want @ v.numpy())
    assert np.allclose(functional.vhp(cubes, x, v)[1].numpy(), want @ v.numpy())
    assert np.allclose(functional.jacobian(lambda t: t * t, x).numpy(), np.diag(2 * x.numpy()))
    assert np.allclose(functional.vjp(lambda t: t * t, x, v)[1].numpy(), 2 * x.numpy() * v.numpy())
    assert np.allclose(functional.jvp(lambda t: t * t, x, v)[1].numpy(), 2 * x.numpy() * v.numpy())
    with pytest.raises(TypeError, match="hessian"):
        functional.hessian(cubes, [x])


def test_make_tensor_keeps_its_promises():
    from pellucid.testing import Maker, assert_allclose, assert_close, make_tensor
    t = make_tensor(3, 4, dtype=torch.int16, low=1, high=5, noncontiguous=True)
    assert t.dtype is torch.int16 and not t.is_contiguous() and t.min() >= 1 and t.max() < 5
    assert (make_tensor((50,), dtype=torch.float32, low=-1, high=1, exclude_zero=True) != 0).all()
    assert Maker(0).posdef(3, 3).shape == (3, 3)
    assert_close({"a": [1.0, torch.ones(2)]}, {"a": [1.0, torch.ones(2)]})
    assert_allclose(torch.ones(2), torch.ones(2, dtype=torch.float64))
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 2"):
        assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    with pytest.raises(AssertionError, match="dtype"):
        assert_close(torch.ones(2), torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="rtol and atol"):
        assert_close(1.0, 1.0, rtol=0.1)


def test_what_the_processor_can_do(monkeypatch):
    assert backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")
    monkeypatch.setenv("PELLUCID_ISA", "baseline")
    assert backends.cpu.get_cpu_capability() == "DEFAULT"


def test_another_accelerator_cannot_become_current():
    with torch.accelerator.device_index(None):
        pass
    with pytest.raises(RuntimeError, match="none is available"), torch.accelerator.device_index(0):
        pass
