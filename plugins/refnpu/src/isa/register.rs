//! The registers that a command stream sets.

macro_rules! registers {
    ($($name:ident $text:literal $doc:literal),* $(,)?) => {
        /// A register: 32 bits, zero when a stream begins.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Register {
            $(#[doc = $doc] $name),*
        }

        impl Register {
            pub const ALL: &'static [Register] = &[$(Register::$name),*];

            /// Its name in a disassembly.
            pub fn name(self) -> &'static str {
                match self {
                    $(Register::$name => $text),*
                }
            }
        }
    };
}

registers! {
    Dram "dram" "DMA: address in the device's memory.",
    DramRow "dram.row" "DMA: bytes from row to row there.",
    DramPlane "dram.plane" "DMA: bytes from plane to plane there.",
    Spm "spm" "DMA: address in the scratchpad.",
    SpmRow "spm.row" "DMA: bytes from row to row there.",
    SpmPlane "spm.plane" "DMA: bytes from plane to plane there.",
    RowBytes "row.bytes" "DMA: bytes of a row.",
    DmaRows "dma.rows" "DMA: rows of a plane.",
    DmaPlanes "dma.planes" "DMA: planes.",
    Rows "rows" "Compute: rows of vectors.",
    Cols "cols" "Compute: vectors of a row.",
    Source "src" "Compute: address of the first vector read.",
    SourceRow "src.row" "Compute: bytes from row to row there.",
    SourceCol "src.col" "Compute: bytes from vector to vector there.",
    Second "src2" "Compute: address of the second operand's first vector.",
    SecondRow "src2.row" "Compute: bytes from row to row there.",
    SecondCol "src2.col" "Compute: bytes from vector to vector there.",
    Target "dst" "Compute: address of the first vector written.",
    TargetRow "dst.row" "Compute: bytes from row to row there.",
    TargetCol "dst.col" "Compute: bytes from vector to vector there.",
    TapRows "tap.rows" "Windows: rows of taps.",
    TapCols "tap.cols" "Windows: taps of a row.",
    TapRow "tap.row" "Windows: bytes from row to row of taps.",
    TapCol "tap.col" "Windows: bytes from tap to tap.",
    Accumulator "acc" "First row of accumulators.",
    Weights "weights" "Address of a tile of weights, or of depthwise weights.",
    WeightZero "weights.zero" "Zero point of the weights, int8.",
    SourceZero "src.zero" "Zero point of what is read, int8.",
    SecondZero "src2.zero" "Zero point of the second operand, int8.",
    SourceScale "src.scale" "Scale of what is read, float32.",
    SecondScale "src2.scale" "Scale of the second operand, float32.",
    TargetScale "dst.scale" "Scale of what is written, float32.",
    TargetZero "dst.zero" "Zero point of what is written, int8.",
    TargetLow "dst.low" "Least value written, int8.",
    TargetHigh "dst.high" "Greatest value written, int8.",
    Parameters "params" "Address of biases and multipliers, or of a look-up table.",
    Value "value" "What to fill with, int8.",
}

pub const COUNT: usize = Register::ALL.len();

impl Register {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Register::ALL.get(usize::from(byte)).copied()
    }

    /// Is the content a float?
    pub(super) fn is_float(self) -> bool {
        matches!(self, Register::SourceScale | Register::SecondScale | Register::TargetScale)
    }

    /// Is the content a signed byte?
    pub(super) fn is_int8(self) -> bool {
        use Register::*;
        matches!(self, WeightZero | SourceZero | SecondZero | TargetZero | TargetLow | TargetHigh | Value)
    }
}
