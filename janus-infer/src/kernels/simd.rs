//! Selection of vector instructions at run time.
//!
//! [`pulp`] compiles a function once for each instruction set and picks one by the processor. Only code
//! that is inlined into that function uses the instructions. The rest is compiled once for any machine,
//! and there `mul_add` calls the C library's `fmaf`.
//!
//! The disassembly (rustc 1.95, x86-64, opt-level 3) shows what is inlined. A closure with
//! `#[inline(always)]` that is called as an [`FnMut`] is inlined whatever its size: packed `vfmadd…ps`
//! on `ymm` or `zmm` registers, no call. Without the attribute only a small one is.
//! [`pulp::Arch::dispatch`] itself calls a closure as an [`FnOnce`], through a shim without the
//! attribute: there a body of three loops was not inlined, and was twenty times slower. So
//! [`vectorised!`](vectorised) adds the attribute, [`dispatch`] calls an [`FnMut`], and a body that
//! needs the [`pulp::Simd`] token itself is a `simd_fn!`.
//!
//! Inner loops count indices. `zip`, `enumerate`, `chunks_exact`, `for_each`, `fill` and `copy_from_slice` are
//! generic functions that are compiled in another unit of the crate, and without optimisation across units
//! they stay calls, which are not vectorised.

/// Independent lanes of a reduction, and columns of a panel: one register of AVX-512, two of AVX, four
/// of NEON.
pub const LANES: usize = 16;

/// Runs `f` compiled for the widest vector instructions of this machine. See
/// [`vectorised!`](vectorised), which calls it.
#[inline(always)]
pub fn dispatch<R>(f: impl FnMut() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnMut() -> R> pulp::WithSimd for Body<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(mut self, _: S) -> R {
            self.0()
        }
    }
    pulp::Arch::new().dispatch(Body(f))
}

/// Runs a closure without parameters compiled for the widest vector instructions of this machine; what
/// it calls must be `#[inline(always)]`.
///
/// ```
/// use janus_infer::kernels::{reduce::dot, simd::vectorised};
/// assert_eq!(vectorised!(|| dot(&[1.0, 2.0], &[3.0, 4.0])), 11.0);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __vectorised {
    (|| $body:expr) => {
        $crate::kernels::simd::dispatch(
            #[inline(always)]
            || $body,
        )
    };
}
#[doc(inline)]
pub use crate::__vectorised as vectorised;

/// Defines a function that is compiled for the widest vector instructions of this machine, for bodies
/// that name registers: the first parameter is the [`pulp::Simd`] token. What the body calls must be
/// `#[inline(always)]`.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($simd:ident, $($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) {
            struct Arguments<$life> {
                $($arg: $type),*
            }
            impl<$life> pulp::WithSimd for Arguments<$life> {
                type Output = ();
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, $simd: S) {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Arguments { $($arg),* })
        }
    };
}
pub(crate) use simd_fn;
