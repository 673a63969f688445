//! Quantisation from the command line: goals, fine-tuning, and options that mean nothing together.

use crate::{GRAPH, PHOTOS, Sandbox, run};

#[test]
fn a_goal_beyond_its_budget_is_a_failed_check_and_what_came_nearest_is_there() {
    let sandbox = Sandbox::new();
    let (out, picture) = (sandbox.path("int8.phg"), sandbox.path("report.svg"));
    let args = [
        "quantize",
        GRAPH,
        "--calibrate",
        PHOTOS,
        "--calibration-count",
        "4",
    ];
    let goal = [
        "--cosine",
        "0.9",
        "--max-flash",
        "1kB",
        "--no-bias-correction",
    ];
    let said = run(args
        .into_iter()
        .chain(goal)
        .chain(["--picture", &picture, "--out", &out]))
    .failed_a_check(&["expected 0.9 within the budgets", "--max-flash"]);
    assert!(said.contains("NOT reached"), "{said}");
    assert_eq!(sandbox.names(), ["int8.phg", "report.svg"]);
    run(["inspect", &out]).done();
}

#[test]
fn a_share_without_the_observer_that_has_one_is_refused() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("int8.phg");
    let args = [
        "quantize",
        GRAPH,
        "--calibrate",
        PHOTOS,
        "--percentile",
        "0.01",
    ];
    run(args.into_iter().chain(["--out", &out])).refused(&[
        "--percentile",
        "--observer best",
        "--observer percentile",
    ]);
    assert_eq!(sandbox.names(), [""; 0]);
}

#[test]
fn fine_tuning_says_what_it_reached_and_leaves_no_state_behind() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("int8.phg");
    let args = ["quantize", GRAPH, "--calibrate", PHOTOS, "--repair", "2"];
    let few = ["--calibration-count", "5", "--no-bias-correction", "--json"];
    let said = run(args.into_iter().chain(few).chain(["--out", &out])).done();
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let repair = &report["repair"];
    assert_eq!(repair["steps"], 2);
    assert!(repair["cosine"].as_f64().unwrap() >= repair["cosine_before"].as_f64().unwrap());
    assert_eq!(sandbox.names(), ["int8.phg"]);
    run(["inspect", &out]).done();
}

#[test]
fn fine_tuning_that_misses_its_goal_is_a_failed_check_and_the_best_state_is_there() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("int8.phg");
    let args = ["quantize", GRAPH, "--calibrate", PHOTOS, "--repair", "1"];
    let goal = [
        "--calibration-count",
        "4",
        "--no-bias-correction",
        "--cosine",
        "0.99999",
    ];
    let said = run(args.into_iter().chain(goal).chain(["--out", &out]))
        .failed_a_check(&["expected 0.99999", "leave out --repair"]);
    assert!(said.contains("NOT reached"), "{said}");
    assert_eq!(sandbox.names(), ["int8.phg"]);
}
