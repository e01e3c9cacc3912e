//! Fuzz input read as choices. Where it ends, every further choice is 0.

/// A cursor over fuzz input.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// The next `len` bytes, or as many as there are.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Lengths of pieces to cut a stream into: four choices, used in a circle.
#[derive(Clone)]
pub(crate) struct Pieces([u8; 4], usize);

impl Pieces {
    pub(crate) fn new(input: &mut Input<'_>) -> Self {
        Self(input.bytes(), 0)
    }

    /// 1 to 255 bytes.
    pub(crate) fn next(&mut self) -> usize {
        self.1 += 1;
        usize::from(self.0[self.1 % 4]).max(1)
    }
}
