//! Evaluates personalised models: judges, paired outcomes, bootstrap intervals, reports.
