//! Quantisation from the command line: goals that cannot be reached, and options that mean nothing together.

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
