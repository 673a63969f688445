//! Files that PyTorch itself wrote (`tests/golden/make_torch_files.py`).

use pinhole_graph::Tensor;
use pinhole_graph::import::Checkpoint;

fn golden(file: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/../../tests/golden/{file}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .expect("the golden file")
}

#[test]
fn both_containers_of_torch_save_are_read() {
    for file in ["torch_zip.pth", "torch_legacy.pth"] {
        let read = Checkpoint::parse(file.as_ref(), &golden(file)).expect("reads");
        let transposed = (0..4)
            .flat_map(|column| (0..3).map(move |row| (row * 4 + column) as f32))
            .collect();
        let expected = [
            ("brain", Tensor::f32(&[1], vec![3.0])),
            ("empty", Tensor::f32(&[0, 3], vec![])),
            ("fc.bias", Tensor::f32(&[2], vec![5.0, 6.0])),
            ("fc.weight", Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0])),
            ("half", Tensor::f32(&[2], vec![1.5, -2.0])),
            ("parameter", Tensor::f32(&[1], vec![0.5])),
            ("steps", Tensor::i32(&[], vec![7])),
            ("tail", Tensor::f32(&[4], vec![8.0, 9.0, 10.0, 11.0])),
            ("transposed", Tensor::f32(&[4, 3], transposed)),
        ];
        assert_eq!(
            read.tensors,
            expected
                .map(|(key, tensor)| (key.to_owned(), tensor))
                .into(),
            "{file}"
        );
    }
}

#[test]
fn cut_and_damaged_files_of_torch_save_never_panic() {
    for file in ["torch_zip.pth", "torch_legacy.pth"] {
        let bytes = golden(file);
        for end in 0..bytes.len() {
            assert!(
                Checkpoint::parse(file.as_ref(), &bytes[..end]).is_err(),
                "{file}, {end} bytes"
            );
        }
        let mut damaged = bytes.clone();
        for at in 0..bytes.len() {
            damaged[at] ^= 0xff;
            // Damage in the padding or the weights of the older container cannot be seen.
            let _ = Checkpoint::parse(file.as_ref(), &damaged);
            damaged[at] ^= 0xff;
        }
    }
}
