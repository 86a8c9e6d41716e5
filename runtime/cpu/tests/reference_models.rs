//! The reference kernels on real models, against what ONNX Runtime computed.

mod support;

use support::Tolerance;

/// Models that compute in 16 bits or on quantised values differ by roundings on the way, which the authors of
/// the expected outputs did elsewhere: by two steps of mobilenetv2_qdq_int8's output, each of up to 2 % of the largest.
const COARSE: &[&str] =
    &["mobilenetv2_qdq_int8", "squeezenet_fp16", "ultraface_rfb320_qop_u8s8", "unet_sed_qdq_s8s8_perchannel"];

#[test]
fn real_models_compute_what_they_should() {
    let Some(data) = support::test_data() else { return };
    let mut folders: Vec<_> = std::fs::read_dir(data.join("models"))
        .expect("the folder of models can be read")
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.join("model.onnx").exists())
        .collect();
    folders.sort();
    let mut failures = Vec::new();
    for folder in &folders {
        let name = folder.file_name().expect("a folder has a name").to_string_lossy();
        let scale = if COARSE.contains(&&*name) { 4e-2 } else { 1e-4 };
        let tolerance = Tolerance { rtol: 1e-3, atol: 1e-6, atol_scale: scale };
        if let Err(why) = support::run(folder, &tolerance) {
            failures.push(format!("{name}: {why}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), folders.len(), failures.join("\n"));
    println!("{} models", folders.len());
}
