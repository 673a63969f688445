//! Names of devices, and what is said where there is none.

use super::{DeviceName, Place, Precision};
use crate::TrainError;
use crate::model::elements;

#[test]
fn names_are_read_as_they_are_written() {
    for (text, name) in [
        ("cpu", DeviceName::Cpu),
        ("cuda", DeviceName::Cuda(None)),
        ("cuda:1", DeviceName::Cuda(Some(1))),
        ("wgpu", DeviceName::Wgpu(None)),
        ("wgpu:0", DeviceName::Wgpu(Some(0))),
    ] {
        assert_eq!(text.parse(), Ok(name));
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn other_names_are_refused_with_those_that_there_are() {
    for text in [
        "",
        "gpu",
        "cuda:",
        "cuda:-1",
        "cuda:x",
        "cpu:0",
        "CUDA",
        "wgpu:70000",
    ] {
        let message = text.parse::<DeviceName>().unwrap_err();
        assert!(
            message.contains(&format!("`{text}`")) && message.contains("cuda:N"),
            "{message}"
        );
    }
}

#[test]
fn the_cpu_computes_in_every_precision() {
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let place = Place::open(DeviceName::Cpu, precision).unwrap();
        assert_eq!((place.name(), place.precision), ("cpu", precision));
        assert_eq!(elements(place.rows(vec![1.0, 2.0], 1)), [1.0, 2.0]);
        assert!(place.device().is_autodiff() && !place.plain().is_autodiff());
    }
}

/// What is said of a device that this machine cannot have: none has so many.
#[cfg(any(not(feature = "cuda"), not(feature = "wgpu")))]
fn refused(name: DeviceName) -> [String; 2] {
    match Place::open(name, Precision::F32) {
        Err(error @ TrainError::Device { .. }) => {
            let message = error.to_string();
            let TrainError::Device { advice, .. } = error else {
                unreachable!()
            };
            [message, advice]
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_program_without_cuda_says_how_one_with_it_is_built() {
    let [message, advice] = refused(DeviceName::Cuda(Some(2)));
    assert_eq!(
        message,
        "device cuda:2: this program was built without the feature `cuda`"
    );
    assert!(advice.contains("--features cuda"), "{advice}");
}

#[cfg(not(feature = "wgpu"))]
#[test]
fn a_program_without_wgpu_says_how_one_with_it_is_built() {
    let [message, advice] = refused(DeviceName::Wgpu(None));
    assert_eq!(
        message,
        "device wgpu: this program was built without the feature `wgpu`"
    );
    assert!(advice.contains("--features wgpu"), "{advice}");
}
