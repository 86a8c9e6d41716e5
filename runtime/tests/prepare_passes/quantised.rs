//! Passes that let codes stay codes.

use super::*;

fn u8_input(dims: &[usize]) -> Datum {
    let count = dims.iter().product::<usize>();
    let elements = (0..count).map(|i| (i * 37 % 256) as u8).collect();
    Datum::Tensor(Tensor::from_vec::<u8>(dims, elements).expect("sized"))
}

/// A convolution of 3 to 4 channels whose nodes are `middle`, from `dx`, `dw` and `db` to `r`.
fn conv(middle: &str, y_type: &str, y_zero: i64, bias_scale: &str) -> String {
    format!(
        "(uint8[1, 3, 6, 5] x) => ({y_type}[] y)
         <float xs = {{0.02}}, uint8 xz = {{120}}, float ys = {{0.0235294}}, {y_type} yz = {{{y_zero}}},
          int8[4, 3, 3, 3] w = {{{weights}}}, float[4] ws = {{0.01, 0.02, 0.005, 0.015}},
          int8[4] wz = {{0, 0, 0, 0}}, int32[4] b = {{500, -300, 0, 12000}}, float[4] bs = {{{bias_scale}}},
          float zero = {{0}}, float six = {{6}}, int32[4] bz = {{0, 0, 0, 0}}> {{
            dx = DequantizeLinear(x, xs, xz)
            dw = DequantizeLinear <axis = 0> (w, ws, wz)
            db = DequantizeLinear <axis = 0> (b, bs, bz)
            {middle}
            y = QuantizeLinear(r, ys, yz)
         }}",
        weights = numbers(108, -127, 128),
    )
}

fn product(w_type: &str, zeros: bool) -> String {
    let (xz, wz, yz) = if zeros { (", xz", ", wz", ", yz") } else { ("", "", "") };
    format!(
        "(uint8[2, 5, 9] x) => (uint8[] y)
         <float xs = {{0.02}}, uint8 xz = {{7}}, float ys = {{0.05}}, uint8 yz = {{100}},
          {w_type}[9, 3] w = {{{weights}}}, float[3] ws = {{0.01, 0.02, 0.005}}, {w_type}[3] wz = {{0, 3, 1}}> {{
            dx = DequantizeLinear(x, xs{xz})
            dw = DequantizeLinear <axis = -1> (w, ws{wz})
            r = MatMul(dx, dw)
            y = QuantizeLinear(r, ys{yz})
         }}",
        weights = numbers(27, 0, 100),
    )
}

/// Scales of a bias as they should be: those of the weights times 0.02.
const BIAS: &str = "0.0002, 0.0004, 0.0001, 0.0003";

#[test]
fn what_lies_between_dequantisation_and_quantisation_is_computed_on_integers() {
    let image: &[usize] = &[1, 3, 6, 5];
    let cases = [
        ("QLinearConv", image, conv("r = Conv <pads = [1, 1, 1, 1]> (dx, dw, db)", "uint8", 110, BIAS)),
        ("QLinearConv", image, conv("r = Conv <strides = [2, 1]> (dx, dw)", "int8", -20, BIAS)),
        ("QLinearConv", image, conv("c = Conv(dx, dw, db) r = Relu(c)", "uint8", 0, BIAS)),
        ("QLinearConv", image, conv("c = Conv(dx, dw) r = Relu(c)", "int8", -128, BIAS)),
        ("QLinearConv", image, conv("c = Conv(dx, dw, db) r = Clip(c, zero, six)", "uint8", 0, BIAS)),
        ("QLinearMatMul", &[2, 5, 9], product("int8", true)),
        ("QLinearMatMul", &[2, 5, 9], product("uint8", true)),
        ("QLinearMatMul", &[2, 5, 9], product("int8", false)),
    ];
    for (op, dims, text) in cases {
        let before = model(&text);
        let after = prepared(&before, "quantise");
        assert_eq!(operators(&after), [op], "{text}");
        let input = [u8_input(dims)];
        let want = run(&before, &Registry::reference(), &input);
        assert!(
            f64s(&want[0]).iter().any(|y| *y != f64s(&want[0])[0]),
            "a constant result shows nothing: {text}"
        );
        for registry in [Registry::reference(), Registry::default()] {
            let got = run(&after, &registry, &input);
            assert_eq!((got[0].dtype(), got[0].dims()), (want[0].dtype(), want[0].dims()));
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1.0;
            assert!(f64s(&got[0]).iter().zip(&f64s(&want[0])).all(near), "{text}");
        }
    }
}

#[test]
fn what_would_change_more_than_a_rounding_is_left_alone() {
    let cases = [
        // The zero point is not the least integer: Relu does more than saturate.
        conv("c = Conv(dx, dw, db) r = Relu(c)", "uint8", 3, BIAS),
        // 6 is less than the greatest integer stands for.
        conv("c = Conv(dx, dw, db) r = Clip(c, zero, six)", "uint8", 0, BIAS).replace("0.0235294", "0.03"),
        // The bias counts in other steps than the sums.
        conv("r = Conv(dx, dw, db)", "uint8", 110, "0.0002, 0.0004, 0.0001, 0.0004"),
        // Its zero point is not zero.
        conv("r = Conv(dx, dw, db)", "uint8", 110, BIAS).replace("bz = {0,", "bz = {1,"),
        // Something else needs the sums.
        conv("c = Conv(dx, dw, db) z = Exp(c) r = Add(c, z)", "uint8", 110, BIAS),
        conv("r = Conv(dx, dw, db)", "uint8", 110, BIAS).replace("(uint8[] y)", "(uint8[] y, float[] r)"),
        // Scales go along the rows.
        product("int8", true)
            .replace("axis = -1", "axis = 0")
            .replace("[9, 3]", "[3, 9]")
            .replace("5, 9]", "5, 3]"),
    ];
    for text in cases {
        let before = model(&text);
        assert_eq!(operators(&prepared(&before, "quantise")), operators(&before), "{text}");
    }
}

/// A quantised network: two convolutions, what comes between their codes, and `rest`.
fn network(rest: &str, outputs: &str) -> String {
    format!(
        "(float[1, 3, 9, 8] x) => ({outputs})
         <float s1 = {{0.02}}, uint8 z1 = {{120}}, float s2 = {{0.05}}, uint8 z2 = {{101}}, float s3 = {{0.03}},
          uint8 z3 = {{4}}, int8[20, 3, 3, 3] w = {{{w}}}, int8[20, 1, 3, 3] v = {{{v}}}, float ws = {{0.01}},
          int8 wz = {{0}}, float[20] one = {{{one}}}, float[20] other = {{{other}}},
          int8[5, 20] u = {{{u}}}, int32[5] b = {{5, -800, 300, 0, 1}}, float bs = {{0.0003}}, int32 bz = {{0}}> {{
            q = QuantizeLinear(x, s1, z1)
            c = QLinearConv <pads = [1, 1, 1, 1]> (q, s1, z1, w, ws, wz, s2, z2)
            d = DequantizeLinear(c, s2, z2)
            n = BatchNormalization(d, one, other, other, one)
            r = Relu(n)
            e = QuantizeLinear(r, s3, z3)
            ed = DequantizeLinear(e, s3, z3)
            k = QLinearConv <group = 20, pads = [1, 1, 1, 1]> (e, s3, z3, v, ws, wz, s2, z2)
            kd = DequantizeLinear(k, s2, z2)
            {rest}
         }}",
        w = numbers(540, -127, 128),
        v = numbers(180, -127, 128),
        u = numbers(100, -127, 128),
        one = numbers(20, 1, 3),
        other = numbers(20, -1, 2),
    )
}

const QUANTISED: &[&str] = &["quantise", "quantise_codes", "fuse_requantisation", "channels_last"];

#[test]
fn quantised_images_stay_codes_with_their_channels_last() {
    let parts = [
        // What follows the two convolutions, the operators that are left, and how far codes may be off.
        (
            "a = Add(ed, kd) ar = Relu(a) aq = QuantizeLinear(ar, s2, z2) ad = DequantizeLinear(aq, s2, z2)
             y = Exp(ad)",
            &["QLinearAdd", "DequantizeLinear", "Exp"][..],
        ),
        (
            "m = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 0, 1]> (kd)
             mq = QuantizeLinear(m, s3, z3) y = DequantizeLinear(mq, s3, z3)",
            &["QLinearMaxPool", "DequantizeLinear"],
        ),
        (
            "j = Concat <axis = 1> (ed, kd) jq = QuantizeLinear(j, s3, z3) jd = DequantizeLinear(jq, s3, z3)
             t = Transpose <perm = [0, 2, 3, 1]> (jd) y = Exp(t)",
            &["QLinearConcat", "DequantizeLinear", "Exp"],
        ),
        (
            "t = Transpose <perm = [0, 1, 3, 2]> (kd) y = QuantizeLinear(t, s2, z2)",
            &["Transpose", "Transpose"],
        ),
        (
            "h = Relu(ed) i = Mul(h, kd) y = Exp(i)",
            &["DequantizeLinear", "DequantizeLinear", "Relu", "Mul", "Exp"],
        ),
    ];
    let input =
        [f32s(&[1, 3, 9, 8], &(0..216).map(|i| (i * 37 % 101) as f32 * 0.02 - 1.0).collect::<Vec<_>>())];
    for (rest, operators_left) in parts {
        let ty = if rest.contains("y = QuantizeLinear") { "uint8[] y" } else { "float[] y" };
        let before = model(&network(rest, ty));
        let want = run(&before, &Registry::default(), &input);
        for passes in [QUANTISED, &QUANTISED[..2], &QUANTISED[..3]] {
            let after = prepared_by(&before, passes);
            assert_eq!(run(&after, &Registry::default(), &input), want, "{rest}");
        }
        let mut left = operators(&prepared_by(&before, QUANTISED));
        let mut wanted = [&["QuantizeLinear", "QLinearConv", "QLinearConv"][..], operators_left].concat();
        left.sort();
        wanted.sort_unstable();
        assert_eq!(left, wanted, "{rest}");
    }
}

#[test]
fn means_and_products_of_codes_are_off_by_a_rounding_at_most() {
    let rest = "g = GlobalAveragePool(kd) gq = QuantizeLinear(g, s3, z3) gd = DequantizeLinear(gq, s3, z3)
         f = Flatten(gd) fq = QuantizeLinear(f, s3, z3) fd = DequantizeLinear(fq, s3, z3)
         ud = DequantizeLinear(u, ws, wz) bd = DequantizeLinear(b, bs, bz)
         p = Gemm <transB = 1> (fd, ud, bd) y = QuantizeLinear(p, s2, z2)";
    let before = model(&network(rest, "uint8[] y, uint8[] gq"));
    let input = [f32s(&[1, 3, 9, 8], &[0.7; 216])];
    let want = run(&before, &Registry::default(), &input);
    for passes in [QUANTISED, &QUANTISED[..2]] {
        let after = prepared_by(&before, passes);
        assert!(operators(&after).contains(&"QLinearGemm".to_owned()));
        for (got, want) in run(&after, &Registry::default(), &input).iter().zip(&want) {
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1.0;
            assert!(f64s(got).iter().zip(&f64s(want)).all(near) && got.dims() == want.dims());
        }
    }
}

#[test]
fn a_dequantised_value_with_other_users_stays() {
    let text = conv("r = Conv(dx, dw, db) z = Exp(dx)", "uint8", 110, BIAS);
    let before = model(&text.replace("(uint8[] y)", "(uint8[] y, float[] z)"));
    let after = prepared(&before, "quantise");
    let mut found = operators(&after);
    found.sort();
    assert_eq!(found, ["DequantizeLinear", "Exp", "QLinearConv"]);
    let input = [u8_input(&[1, 3, 6, 5])];
    let (got, want) = (run(&after, &Registry::default(), &input), run(&before, &Registry::default(), &input));
    assert_eq!(got[1], want[1]);
}
