//! The border to C++: plain descriptions go over, a network that can be run comes back.

#[cxx::bridge(namespace = "byoc::onednn")]
pub mod ffi {
    /// What a primitive does; `primitives.cc` has its functions in the same order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    enum Kind {
        #[default]
        Convolution,
        Deconvolution,
        Product,
        Pooling,
        Softmax,
        LayerNorm,
        BatchNorm,
        Lrn,
        Concat,
        Eltwise,
        Binary,
        Prelu,
        Reduction,
        Resampling,
        /// The same elements in the same order under another shape.
        View,
        Transpose,
        /// What lies from `begin` on along the axis.
        Part,
        /// Codes as numbers: less the zero point, times a scale.
        Dequantise,
    }

    /// Of elements; `network.cc` has oneDNN's names in the same order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    enum Type {
        #[default]
        F32,
        S8,
        U8,
    }

    /// Which function of its kind; `primitives.cc` has oneDNN's names in the same order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    enum Algorithm {
        #[default]
        None,
        Max,
        Min,
        Add,
        Sub,
        Mul,
        Div,
        PoolMax,
        PoolMean,
        PoolMeanOfAll,
        Sum,
        Mean,
        Product,
        NormL1,
        NormL2,
        Relu,
        Elu,
        Tanh,
        Logistic,
        Abs,
        Sqrt,
        Linear,
        SoftRelu,
        Exp,
        Log,
        GeluErf,
        GeluTanh,
        Swish,
        Clip,
        Pow,
        HardSwish,
        HardSigmoid,
        Mish,
        Round,
        Nearest,
        Bilinear,
    }

    /// What is done to a result before it is written.
    #[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
    struct PostOp {
        /// `Eltwise` or `Binary`.
        kind: Kind,
        algorithm: Algorithm,
        alpha: f32,
        beta: f32,
        /// The other operand of a binary one.
        value: usize,
    }

    /// One primitive to be. Values are numbers; `output` gets the shape `dims`.
    #[derive(Debug, Clone, Default)]
    struct Op {
        kind: Kind,
        algorithm: Algorithm,
        inputs: Vec<usize>,
        output: usize,
        dtype: Type,
        /// The zero point of the first input, a value; none where that is 0.
        zero: Vec<usize>,
        dims: Vec<i64>,
        kernel: Vec<i64>,
        strides: Vec<i64>,
        dilations: Vec<i64>,
        begin: Vec<i64>,
        end: Vec<i64>,
        groups: i64,
        axis: i64,
        alpha: f32,
        beta: f32,
        post: Vec<PostOp>,
    }

    unsafe extern "C++" {
        include!("byoc-onednn/src/network.h");

        /// Constants in the layouts that primitives want, shared by all networks of a region.
        type Weights;
        fn new_weights() -> Result<SharedPtr<Weights>>;

        /// Version of oneDNN, and the instructions that it uses here.
        fn identity() -> String;
        /// Whether sums of products of 8-bit numbers are exact: older instructions saturate sums of pairs.
        fn sums_are_exact() -> bool;

        /// Primitives for one set of shapes.
        type Network;
        fn new_network(weights: SharedPtr<Weights>, threads: i32) -> Result<UniquePtr<Network>>;

        /// The next input, whose memory is given when it runs.
        fn input(self: Pin<&mut Network>, value: usize, dims: &[i64], dtype: Type) -> Result<()>;
        /// A constant. `data` may be empty where another network of the region had the same shapes.
        fn constant(self: Pin<&mut Network>, value: usize, dims: &[i64], of: Type, data: &[u8])
        -> Result<()>;
        fn op(self: Pin<&mut Network>, op: &Op) -> Result<()>;
        /// Settles where everything lies.
        fn finish(self: Pin<&mut Network>, outputs: &[usize]) -> Result<()>;
        /// Runs, with the addresses of inputs and outputs.
        ///
        /// # Safety
        /// They are valid for the call, and as large as the shapes say.
        unsafe fn run(self: Pin<&mut Network>, inputs: &[usize], outputs: &[usize]) -> Result<()>;
    }
}
