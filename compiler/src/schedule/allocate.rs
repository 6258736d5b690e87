//! Places buffers in arenas: buffers that are never alive at the same time may share bytes.

/// Alignment of buffers in bytes: a cache line and the widest vector.
const ALIGN: u64 = 64;

/// A buffer to place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Size in bytes.
    pub(super) bytes: u64,
    /// First step that touches it.
    pub(super) first: usize,
    /// Last step that touches it.
    pub(super) last: usize,
}

/// The first byte of every buffer, and the size of the arena.
///
/// First fit in order of first use: simple, and near the lower bound because the buffers of a layer
/// come and go together.
pub(super) fn place(requests: &[Request]) -> (Vec<u64>, u64) {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|i| (requests[*i].first, *i));
    let mut starts = vec![0; requests.len()];
    // Buffers alive now: start, end, last step; by start.
    let mut alive: Vec<(u64, u64, usize)> = Vec::new();
    let mut size = 0;
    for i in order {
        let request = requests[i];
        let bytes = request.bytes.next_multiple_of(ALIGN);
        alive.retain(|(.., last)| *last >= request.first);
        let mut at = 0;
        let mut position = alive.len();
        for (index, (start, end, _)) in alive.iter().enumerate() {
            if at + bytes <= *start {
                position = index;
                break;
            }
            at = *end;
        }
        alive.insert(position, (at, at + bytes, request.last));
        starts[i] = at;
        size = size.max(at + bytes);
    }
    (starts, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_alive_together_do_not_overlap_and_others_share() {
        let request = |bytes, first, last| Request { bytes, first, last };
        let requests = [request(100, 0, 2), request(64, 1, 1), request(64, 2, 3), request(1, 3, 3)];
        assert_eq!(place(&requests), (vec![0, 128, 128, 0], 192));
    }
}
