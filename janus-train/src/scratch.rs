//! A pool of reusable work buffers. A reused buffer needs no new page faults and is not cleared.
//!
//! The pool holds hardly more than was ever in use at once ([`bound`]), so that steps of different lengths, whose
//! buffers differ in size, need no more memory than the longest of them. Each buffer is a memory map of its
//! own: one that is released goes back to the system at once, whatever the allocator does with freed memory.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

/// Numbers in the smallest buffer: a page.
const PAGE: usize = 1024;

static POOL: Mutex<Pool> = Mutex::new(Pool::EMPTY);

/// The free buffers and the sizes of all, in numbers.
struct Pool {
    /// Shortest first.
    free: Vec<Free>,
    /// Of all buffers, free or in use.
    held: usize,
    /// What the buffers in use were asked for.
    needed: usize,
    /// The maximum of `needed`, which bounds `held`.
    most_needed: usize,
    /// Buffers that came back so far.
    returns: u64,
}

struct Free {
    buffer: Buffer,
    /// The return that freed it.
    freed: u64,
}

/// `len` numbers of **unspecified value** (left by the previous user). It returns to the pool on drop.
pub(crate) struct Scratch {
    /// `None` if `len` is 0.
    buffer: Option<Buffer>,
    len: usize,
}

impl Scratch {
    /// A buffer of `len` numbers: the smallest free one that is large enough, unless it has four times the
    /// size or more; else a new one.
    pub(crate) fn new(len: usize) -> Self {
        let size = size(len);
        if size == 0 {
            return Self { buffer: None, len };
        }
        let mut pool = lock();
        let buffer = pool.take(size);
        let released = pool.release();
        drop(pool);
        // Outside of the lock: the system calls take long.
        drop(released);
        Self { buffer: Some(buffer.unwrap_or_else(|| Buffer::new(size))), len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        let mut pool = lock();
        pool.put(buffer, size(self.len));
        let released = pool.release();
        drop(pool);
        drop(released);
    }
}

fn lock() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The size of a buffer for `len` numbers.
fn size(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}

/// The most that the pool holds if the buffers in use at once never need more than `needed`. The eighth above
/// it lets buffers stay that are used at different times, such as those of the head and of a layer.
pub(crate) fn bound(needed: usize) -> usize {
    needed + needed / 8
}

impl Pool {
    const EMPTY: Self = Self { free: Vec::new(), held: 0, needed: 0, most_needed: 0, returns: 0 };

    /// A free buffer; `None` if the caller has to make one of this size.
    fn take(&mut self, size: usize) -> Option<Buffer> {
        self.needed += size;
        self.most_needed = self.most_needed.max(self.needed);
        let fit = self.free.partition_point(|free| free.buffer.len() < size);
        if self.free.get(fit).is_some_and(|free| free.buffer.len() < 4 * size) {
            Some(self.free.remove(fit).buffer)
        } else {
            self.held += size;
            None
        }
    }

    /// Puts a buffer back that was taken for `size` numbers.
    fn put(&mut self, buffer: Buffer, size: usize) {
        self.needed -= size;
        self.returns += 1;
        let at = self.free.partition_point(|free| free.buffer.len() < buffer.len());
        self.free.insert(at, Free { buffer, freed: self.returns });
    }

    /// Takes the buffers out that have been free for longest, until the rest is within the bound.
    fn release(&mut self) -> Vec<Free> {
        let mut released = Vec::new();
        while self.held > bound(self.most_needed)
            && let Some(oldest) = (0..self.free.len()).min_by_key(|&i| self.free[i].freed)
        {
            let free = self.free.remove(oldest);
            self.held -= free.buffer.len();
            released.push(free);
        }
        released
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer.numbers()[..self.len])
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.buffer.as_mut().map_or(&mut [], |buffer| &mut buffer.numbers_mut()[..self.len])
    }
}

/// Anonymous memory.
struct Buffer(MmapMut);

impl Buffer {
    fn new(len: usize) -> Self {
        match MmapMut::map_anon(len * size_of::<f32>()) {
            Ok(map) => {
                // Large pages are faulted in and found faster; without them the buffer is as good.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                Self(map)
            }
            // As Vec does if there is no memory left.
            Err(_) => std::alloc::handle_alloc_error(
                std::alloc::Layout::array::<f32>(len).unwrap_or(std::alloc::Layout::new::<f32>()),
            ),
        }
    }

    fn len(&self) -> usize {
        self.0.len() / size_of::<f32>()
    }

    fn numbers(&self) -> &[f32] {
        #[expect(unsafe_code, reason = "bytes as numbers")]
        // SAFETY: a map starts at a page, its bytes are initialised (by the system with zeros), and every
        // four bytes are an f32.
        unsafe {
            std::slice::from_raw_parts(self.0.as_ptr().cast(), self.len())
        }
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        #[expect(unsafe_code, reason = "bytes as numbers")]
        // SAFETY: as above; `&mut self` makes the slice the only access.
        unsafe {
            std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_requested_length_whatever_it_was_before() {
        drop(Scratch::new(5000));
        for len in [0, 1, 1024, 4999, 5000, 5001] {
            let mut buffer = Scratch::new(len);
            buffer.fill(1.0);
            assert_eq!(buffer.len(), len);
        }
    }

    /// Buffers of a step: two of each of some layers, and a large one after them.
    fn step(pool: &mut Pool, tokens: usize) {
        let take = |pool: &mut Pool, len: usize| {
            let buffer = pool.take(size(len)).unwrap_or_else(|| Buffer::new(size(len)));
            pool.release();
            assert!(buffer.len() >= len);
            (buffer, size(len))
        };
        let mut taken: Vec<_> =
            (0..8).flat_map(|_| [3 * tokens, tokens]).map(|len| take(pool, len)).collect();
        taken.push(take(pool, 5 * tokens));
        for (buffer, size) in taken.into_iter().rev() {
            pool.put(buffer, size);
            pool.release();
        }
    }

    /// Regression: the pool kept 256 buffers of any size, so that each length of a step added its own.
    #[test]
    fn steps_of_many_lengths_hold_no_more_than_the_longest() {
        let mut pool = Pool::EMPTY;
        for i in 0..200 {
            step(&mut pool, 1 + (i * 7919) % 50_000);
            assert!(pool.held <= bound(pool.most_needed), "step {i}");
            assert_eq!(pool.held, pool.free.iter().map(|free| free.buffer.len()).sum::<usize>());
        }
        assert_eq!(pool.needed, 0);
    }

    #[test]
    fn a_second_step_of_the_same_length_makes_no_buffer() {
        let mut pool = Pool::EMPTY;
        step(&mut pool, 40_000);
        let (held, buffers) = (pool.held, pool.free.len());
        step(&mut pool, 40_000);
        assert_eq!((pool.held, pool.free.len()), (held, buffers));
        step(&mut pool, 30_000);
        assert_eq!((pool.held, pool.free.len()), (held, buffers), "a shorter step uses what is there");
    }
}
