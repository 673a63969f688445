//! Post-training quantisation: observers, calibration, per-layer error report.
