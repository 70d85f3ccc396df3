//! MT-Bench's pairwise mode: each turn against another model's, in both orders.

use std::ops::ControlFlow;

use janus_data::write_all;
use janus_eval::Missing;
use janus_eval::bench::mt_bench::{PairJudgment, PairScores, Question};
use janus_eval::judge::{Asker, PairPrompts, PairwiseJudge, PairwiseOptions};
use janus_eval::run::{Judged, Protocol, VerdictRow, VerdictRun, VerdictSettings};
use serde_json::json;

use super::super::folder::{self, RunRecord};
use super::super::service::{read_text, watched};
use super::{Answers, Args, turns};
use crate::command::{Blame as _, CommandError, Outcome};

pub(super) fn run(
    args: &Args,
    record: RunRecord,
    questions: &[Question],
    mine: &Answers<'_>,
    other: &Answers<'_>,
    references: &Answers<'_>,
) -> Result<Outcome, CommandError> {
    let [name, opponent_name] = folder::names((args.name.as_ref(), mine.path), (args.opponent_name.as_ref(), other.path))?;
    // Each pair with its question and its turn.
    let (mut pairs, mut places) = (Vec::new(), Vec::new());
    for question in questions {
        let found = question.pairs(mine.of(question)?, other.of(question)?, references.reference(question)?).bad_input()?;
        places.extend((1..=found.len()).map(|turn| (question, turn)));
        pairs.extend(found);
    }
    let mut options = PairwiseOptions::mt_bench().failure()?;
    if let Some(path) = &args.judge_prompt {
        options.prompts = PairPrompts::published(&read_text(path)?).bad_input()?;
    }
    let (model, journal) = args.service.begin(&args.out)?;
    let judge = PairwiseJudge::new(Asker::new(&model).journal(&journal), options.clone()).bad_input()?;
    let (open, estimate) = (|| judge.unasked(&pairs).bad_input(), || judge.estimate(&pairs).bad_input());
    let estimate = match args.batch.prepare("judge mt-bench", &args.service, &journal, open, estimate)? {
        ControlFlow::Break(outcome) => return Ok(outcome),
        ControlFlow::Continue(estimate) => estimate,
    };
    let judgement = watched(estimate.calls, |on_call| {
        let judge = PairwiseJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options.clone()).bad_input()?;
        judge.judge(&pairs).bad_input()
    })?;

    let (mut judgments, mut rows) = (Vec::new(), Vec::new());
    for ((question, turn), row) in places.into_iter().zip(&judgement.rows) {
        let id = &question.question_id;
        judgments.push(PairJudgment::of(id.as_str(), turn, [&name, &opponent_name], &judgement.judge, row));
        let turns = turns(question, turn, mine.of(question)?, Some(other.of(question)?), references.reference(question)?);
        let (question, category) = (id.clone(), question.category.clone());
        rows.push(VerdictRow { question, category, turn: Some(turn), ..VerdictRow::new(row.id.as_str(), turns, row) });
    }
    let path = args.out.join("pairs.jsonl");
    write_all(&path, &judgments).failure()?;
    let judged = Judged {
        protocol: Protocol::MtBenchPairs,
        model: name.clone(),
        opponent: Some(opponent_name),
        settings: VerdictSettings {
            judge: judgement.judge.clone(),
            prompts: judgement.prompts.clone(),
            sampling: options.sampling,
            system_shown: false,
            reference_shown: true,
        },
        counts: judgement.counts,
        missing: Missing::default(),
    };
    let run = VerdictRun::new(judged, rows, 0).failure()?;
    let score = PairScores::of(&judgments, None).ok().and_then(|scores| scores.models.into_iter().find(|score| score.model == name));
    let text = match &score {
        Some(score) => format!(
            "win + half a tie {:.1} %: {} wins, {} ties, {} losses; the table: cargo xtask eval mt-bench-pairs --judgments {}",
            100.0 * score.win_rate_adjusted,
            score.win,
            score.tie,
            score.loss,
            path.display()
        ),
        None => "no verdict".into(),
    };
    let numbers = json!({
        "judge": judgement.judge, "prompts": judgement.prompts, "pairs": path, "score": score, "n": judgement.n(),
        "flip_rate": judgement.flip_rate(), "first_position_share": judgement.first_position_share(),
    });
    let record = record.end(&args.out, &args.service, &model, &estimate)?;
    folder::finish(&args.out, &run, &record, &text, numbers)
}
