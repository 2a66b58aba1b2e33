"""Convolutions for inference on CPUs in float32 and bfloat16.

- ``layer`` replaces modules. Its convolutions are Winograd's: ``kernel`` computes them, with ``transforms`` and
  ``products``.
- ``head`` adds the classifier to the head's Winograd convolution, whose many channels are then never stored.
- ``depthwise`` and ``depthwise_kernel`` compute depthwise convolutions with several outputs a channel.
- ``vectors`` has what they all need of LLVM; :mod:`mmseg_bisenet.kernel_cache` keeps compiled kernels on disk.

Why Numba. A C++ extension needs a compiler on the user's machine, or a wheel for each version of PyTorch. Numba brings
LLVM as an ordinary package, and compiles for the machine's CPU when a network is first loaded. The work runs in the
threads that PyTorch already has (:mod:`mmseg_bisenet.openmp`).

What is assumed, and what happens otherwise:

- Linux and a PyTorch with GCC's OpenMP (libgomp), which exports ``GOMP_parallel(function, argument, threads, 0)``.
- FMA (x86) or NEON (Arm). Without one of them, on another system or without Numba, no layer is replaced:
  ``layer._parallel`` returns None, and PyTorch's own convolutions run.
- AVX-512 doubles the vectors (``vectors.LANES``). AVX-512-BF16 multiplies bfloat16; without it bfloat16 is computed in
  float32.

How to test one kernel alone. ``kernel.kernel(bfloat16, factor_size)`` compiles one variant: ``bfloat16`` says whether
inputs and outputs are bfloat16, ``factor_size`` is the bytes of a factor (4: float32, 2: bfloat16).
``WinogradConv2d(conv)(x)`` runs it on one layer, without a network::

    pytest tests/deploy/test_winograd.py -k test_float32_is_the_convolution

``test_transforms_are_an_identity_in_one_dimension`` checks the matrices without any kernel.

When a new release breaks it:

- Numba or llvmlite: only ``kernel_cache``, ``loops``, ``vectors``, ``transforms``, ``products`` and the ``@intrinsic``
  functions use their interfaces. Instructions have their names of assembly if LLVM's own names change between releases.
  If a release cannot be supported at once, let ``layer._parallel`` return None for it: everything then works, but
  more slowly.
- PyTorch: only ``layer``, ``head`` and ``depthwise`` use it, through ``torch.library.custom_op`` and libgomp. Run
  ``test_the_operator_has_a_right_fake`` for the operator, and ``test_any_number_of_threads_gives_the_same`` for the
  threads.
"""
