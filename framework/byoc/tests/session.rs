//! Sessions as a library's user has them: many threads, bound buffers, clear errors.

use byoc::{Datum, Session, Tensor, demo};

fn session() -> Session {
    Session::builder("").model(demo::network(7).unwrap()).threads(2).build().unwrap()
}

fn image(seed: usize) -> Tensor {
    let pixels = (0..3 * 32 * 32).map(|i| ((i * 7 + seed * 13) % 255) as f32 / 127.5 - 1.0).collect();
    Tensor::from_vec(&[1, 3, 32, 32], pixels).unwrap()
}

fn run(session: &Session, image: Tensor) -> Tensor {
    let outputs = session.run(&[("image".into(), image.into())]).unwrap();
    let (name, Datum::Tensor(tensor)) = outputs.into_iter().next().unwrap() else { panic!("a tensor") };
    assert_eq!(name, "probabilities");
    tensor
}

#[test]
fn runs_from_many_threads_give_what_runs_alone_give() {
    let session = session();
    let alone: Vec<Tensor> = (0..8).map(|seed| run(&session, image(seed))).collect();
    assert_ne!(alone[0], alone[1], "other images give other probabilities");
    std::thread::scope(|scope| {
        for (seed, want) in alone.iter().enumerate() {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(&run(session, image(seed)), want);
                }
            });
        }
    });
}

#[test]
fn bound_buffers_stay_where_they_are() {
    let session = session();
    let mut binding = session.bind().unwrap();
    let address = binding.output("probabilities").unwrap().bytes().as_ptr();
    for seed in 0..3 {
        binding.input_mut("image").unwrap().copy_from_slice(image(seed).bytes());
        binding.run().unwrap();
        let output = binding.output("probabilities").unwrap();
        assert_eq!(output.bytes(), &run(&session, image(seed)).bytes()[..]);
        assert_eq!(output.bytes().as_ptr(), address);
    }
    assert!(binding.input_mut("nobody").is_err() && binding.output("nobody").is_err());
}

#[test]
fn a_default_holds_until_its_input_is_given() {
    // The shape is an input, too: it settles how the image is cut as long as nobody gives another.
    let text = r#"<ir_version: 8, opset_import: ["": 17]>
        cut (float[1, 6, 2, 2] x, int64[3] shape = {2, 3, 4}, float[1] factor = {10}) => (float[] y)
        <int64[1] axis = {2}> {
            parts = Reshape(x, shape)
            sums = ReduceSum <keepdims = 0> (parts, axis)
            y = Mul(sums, factor)
        }"#;
    let path = std::env::temp_dir().join(format!("byoc-defaults-{}.onnxtxt", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let session = Session::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let names: Vec<_> = session.inputs().iter().map(|input| input.name.to_string()).collect();
    assert_eq!(names, ["x", "shape", "factor"]);
    let run = |given: &[(&str, Tensor)]| {
        let x = Tensor::from_vec(&[1, 6, 2, 2], (0..24).map(|i| i as f32).collect()).unwrap();
        let given = given.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone().into()));
        let inputs: Vec<(String, Datum)> = given.chain([("x".to_owned(), x.into())]).collect();
        let Datum::Tensor(y) = session.run(&inputs).unwrap().remove(0).1 else { panic!("a tensor") };
        (y.dims().to_vec(), y.to_f64s().unwrap()[..2].to_vec())
    };
    let shape = Tensor::from_vec(&[3], vec![4i64, 3, 2]).unwrap();
    let factor = Tensor::from_vec(&[1], vec![1f32]).unwrap();
    assert_eq!(run(&[]), (vec![2, 3], vec![60.0, 220.0]));
    assert_eq!(run(&[("shape", shape.clone())]), (vec![4, 3], vec![10.0, 50.0]));
    assert_eq!(run(&[("factor", factor.clone())]), (vec![2, 3], vec![6.0, 22.0]));
    assert_eq!(run(&[("shape", shape), ("factor", factor)]), (vec![4, 3], vec![1.0, 5.0]));
    assert_eq!(run(&[]), (vec![2, 3], vec![60.0, 220.0]));
}

#[test]
fn errors_name_what_is_wrong() {
    let session = session();
    let message = |inputs: &[(String, Datum)]| session.run(inputs).unwrap_err().to_string();
    assert!(message(&[]).contains("`image`"));
    let unknown = message(&[("picture".into(), image(0).into())]);
    assert!(unknown.contains("`picture`") && unknown.contains("`image`"), "{unknown}");
    let wrong = Tensor::from_vec(&[1, 3, 32], vec![0f32; 96]).unwrap();
    assert!(message(&[("image".into(), wrong.into())]).contains("rank 3"));
    let double = Tensor::from_vec(&[1, 3, 32, 32], vec![0f64; 3 * 32 * 32]).unwrap();
    assert!(message(&[("image".into(), double.into())]).contains("float64"));
}

#[test]
fn thread_counts_do_not_change_results() {
    let with = |threads| {
        let session = Session::builder("").model(demo::network(7).unwrap()).threads(threads).build().unwrap();
        run(&session, image(5))
    };
    assert_eq!(with(1), with(3));
}
