//! Large pages for large buffers.
//!
//! The system hands memory out in pages of 4 KiB at their first touch unless it is asked for larger
//! ones. The planes of a few skycells are 200 000 of those, and their faults took a third of the time
//! of decoding, and two thirds of the time of a convolution into a new plane. This is a hint: where
//! it is not followed, only time is lost.

/// Asks for large pages for a buffer, which should not have been touched yet.
pub fn advise<T>(buffer: &mut [T]) {
    #[cfg(target_os = "linux")]
    if size_of_val(buffer) >= MIN_BYTES {
        let start = buffer.as_mut_ptr() as usize;
        // From the first to the last whole page: the call takes no others.
        let from = start.next_multiple_of(PAGE_BYTES);
        let to = (start + size_of_val(buffer)) / PAGE_BYTES * PAGE_BYTES;
        // SAFETY: the range lies within memory that is borrowed here for writing, and the advice
        // changes no byte of it. A refusal is of no consequence.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = buffer;
}

/// Buffers below this are not worth the call.
#[cfg(target_os = "linux")]
const MIN_BYTES: usize = 4 << 20;

/// A multiple of every page that Linux has where this runs.
#[cfg(target_os = "linux")]
const PAGE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    #[test]
    fn advice_changes_no_byte() {
        let mut buffer = vec![7_u8; 3];
        buffer.reserve_exact(9_000_001);
        super::advise(buffer.spare_capacity_mut());
        buffer.resize(9_000_001, 7);
        assert!(buffer.iter().all(|byte| *byte == 7));
    }
}
