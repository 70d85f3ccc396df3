//! Tests that Mini is sound: its splits are disjoint, and its grader distinguishes good from bad responses.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use janus_core::{BenchRecord, Dimension, stream};
use janus_data::mini::{
    Family, Feature, Mini, MiniPreference, PREFERENCES, Split, UNIFORM_SYSTEM, Wanted, grade, grade_truth,
    held_out_pairs, instruction, realise, topics, understand,
};
use rand::seq::IndexedRandom;

fn scores(record: &BenchRecord, response: &str) -> Vec<u8> {
    grade(record, response).unwrap().iter().map(|grade| grade.score.get()).collect()
}

fn mean(scores: &[Vec<u8>]) -> f64 {
    let all: Vec<u8> = scores.iter().flatten().copied().collect();
    all.iter().map(|&score| f64::from(score)).sum::<f64>() / all.len() as f64
}

fn bench() -> Vec<BenchRecord> {
    Mini::new(7).eval(Split::Bench, 100)
}

#[test]
fn every_gold_response_scores_five_on_all_four() {
    for split in [Split::Dev, Split::Bench] {
        for record in Mini::new(3).eval(split, 300) {
            let grades = grade(&record, &record.reference_answer).unwrap();
            let all_five = grades.iter().all(|grade| grade.score.get() == 5);
            assert!(all_five, "{}\n{}\n{grades:#?}", record.system, record.reference_answer);
        }
    }
}

/// Every pair of features of two dimensions is tried on some topic.
#[test]
fn no_two_features_interfere() {
    let mut rng = stream(1, "pairs");
    let question = |family, topic| instruction(family, topic, 0);
    for first in &PREFERENCES {
        for second in PREFERENCES.iter().filter(|second| second.dimension > first.dimension) {
            let topic = topics().choose(&mut rng).unwrap();
            let family = *Family::ALL.choose(&mut rng).unwrap();
            let member = |dimension: Dimension, rng: &mut _| -> &'static MiniPreference {
                let fixed = [first, second].into_iter().find(|p| p.dimension == dimension);
                fixed
                    .unwrap_or_else(|| MiniPreference::of(dimension).collect::<Vec<_>>().choose(rng).unwrap())
            };
            let members = Dimension::ALL.map(|dimension| member(dimension, &mut rng));
            let [style, background, informativeness, harmlessness] = members.map(|member| member.feature);
            let text = realise(family, topic, &Wanted { style, background, informativeness, harmlessness });
            let mut record = bench().swap_remove(0);
            record.prompt = question(family, topic);
            record.preference_set =
                Some(janus_core::PreferenceSet::new(members.map(|m| m.to_preference())).unwrap());
            assert_eq!(scores(&record, &text), [5, 5, 5, 5], "{text}\n{:#?}", grade(&record, &text).unwrap());
        }
    }
}

#[test]
fn a_response_to_other_preferences_scores_low() {
    let bench = bench();
    // The three rows of an instruction differ in every dimension.
    let swapped: Vec<Vec<u8>> = bench
        .chunks(3)
        .flat_map(|rows| {
            [scores(&rows[0], &rows[1].reference_answer), scores(&rows[1], &rows[2].reference_answer)]
        })
        .collect();
    assert!(mean(&swapped) < 1.5, "{}", mean(&swapped));
    // Fewer than one in twenty scores may be 4 or more: related features give partial credit.
    let high = swapped.iter().flatten().filter(|&&score| score >= 4).count();
    assert!(high * 20 < swapped.len() * 4, "{high} of {}", swapped.len() * 4);
}

#[test]
fn empty_repeated_and_off_topic_responses_score_low_on_each() {
    let bench = bench();
    for (i, record) in bench.iter().enumerate() {
        let gold = &record.reference_answer;
        let other = &bench[(i + 30) % bench.len()];
        let off_topic = if other.prompt == record.prompt {
            &bench[(i + 33) % bench.len()].reference_answer
        } else {
            &other.reference_answer
        };
        for (what, response) in [
            ("empty", String::new()),
            ("white space", " \n ".into()),
            ("repeated", format!("{gold}\n{gold}\n{gold}")),
            ("off topic", off_topic.clone()),
            ("punctuation only", "- \n- \n1. !!!".into()),
            ("shuffled letters", gold.chars().rev().collect()),
        ] {
            let scores = scores(record, &response);
            assert!(scores.iter().all(|&score| score <= 2), "{what}: {scores:?}\n{response}");
        }
    }
}

#[test]
fn a_response_that_says_everything_scores_low_on_each() {
    for record in bench().iter().step_by(7) {
        let (family, topic) = understand(&record.prompt).unwrap();
        let all = |dimension| MiniPreference::of(dimension).map(|p| p.feature).collect::<Vec<_>>();
        let (styles, backgrounds) = (all(Dimension::Style), all(Dimension::BackgroundKnowledge));
        let (infos, harms) = (all(Dimension::Informativeness), all(Dimension::Harmlessness));
        let everything: Vec<String> = (0..10)
            .map(|i| {
                let wanted = Wanted {
                    style: styles[i],
                    background: backgrounds[i],
                    informativeness: infos[i],
                    harmlessness: harms[i],
                };
                realise(family, topic, &wanted)
            })
            .collect();
        let scores = scores(record, &everything.join("\n"));
        assert!(scores.iter().all(|&score| score <= 2), "{scores:?}\n{}", everything.join("\n"));
    }
}

#[test]
fn scores_between_one_and_five_are_given() {
    let place = |style, info| Wanted {
        style,
        background: Feature::Field,
        informativeness: info,
        harmlessness: Feature::Source,
    };
    let mut record = bench().swap_remove(0);
    let owl = &topics()[0];
    record.prompt = instruction(Family::Place, owl, 0);
    let with = |record: &BenchRecord, style: Feature, info: Feature| {
        let members = [style, Feature::Field, info, Feature::Source]
            .map(|f| PREFERENCES.iter().find(|p| p.feature == f).unwrap());
        let mut record = record.clone();
        record.preference_set =
            Some(janus_core::PreferenceSet::new(members.map(|m| m.to_preference())).unwrap());
        record
    };
    let bullets = with(&record, Feature::Bullets, Feature::Tip);
    let gold = realise(Family::Place, owl, &place(Feature::Bullets, Feature::Tip));
    assert_eq!(gold.lines().count(), 4);
    assert_eq!(scores(&bullets, &gold)[0], 5);
    let three_of_four = gold.replacen("- ", "", 1);
    assert_eq!(scores(&bullets, &three_of_four)[0], 3);
    let one_of_four = gold.replacen("- ", "", 3);
    assert_eq!(scores(&bullets, &one_of_four)[0], 1);
    // A wrong tip under the right heading is worth a little.
    let wrong_tip = gold.replace("listen near old barns after dark", "plant some clover by the window");
    assert_eq!(scores(&bullets, &wrong_tip)[2], 1);
    let half_tip = gold.replace("after dark", "");
    assert!((3..5).contains(&scores(&bullets, &half_tip)[2]));
    // Two facts instead of the three that were requested.
    let facts = with(&record, Feature::Bullets, Feature::MoreFacts);
    let three = realise(Family::Place, owl, &place(Feature::Bullets, Feature::MoreFacts));
    let two: Vec<&str> = three.lines().enumerate().filter(|(i, _)| *i != 3).map(|(_, line)| line).collect();
    assert_eq!((scores(&facts, &three)[2], scores(&facts, &two.join("\n"))[2]), (5, 3));
    // A true fact other than the requested one bounds all scores.
    let wrong_fact = gold.replace("rests in hollow trees", "flies without a sound");
    assert_eq!(scores(&bullets, &wrong_fact), [2, 2, 2, 2]);
    let no_fact = gold.replace("rests in hollow trees", "is something");
    assert_eq!(scores(&bullets, &no_fact), [1, 1, 1, 1]);
    let false_fact = format!("{gold}\n- It also lives in hives of wax.");
    assert_eq!(scores(&bullets, &false_fact), [2, 2, 2, 2]);
}

#[test]
fn truth_can_be_graded_alone() {
    let truth = |response: &str| {
        grade_truth("Tell me where the owl is found.", response).map(|grade| grade.score.get())
    };
    assert_eq!(truth("It rests in hollow trees."), Some(5));
    assert_eq!(truth("The owl can turn its head almost backward."), Some(2));
    assert_eq!(truth("No idea."), Some(1));
    assert_eq!(grade_truth("Who are you?", "It rests in hollow trees."), None);
}

#[test]
fn a_record_that_is_not_from_mini_is_named() {
    let mut record = bench().swap_remove(5);
    record.prompt = "Write a poem.".into();
    let error = grade(&record, "x").unwrap_err().to_string();
    assert!(error.contains("bench-0001-2") && error.contains("Write a poem."), "{error}");
}

#[test]
fn splits_share_no_combination_no_system_message_and_no_question() {
    let mini = Mini::new(11);
    let train = mini.train(20_000, None);
    let combination = |set: &Option<janus_core::PreferenceSet>| -> Vec<String> {
        set.as_ref().unwrap().iter().map(|p| p.name.clone()).collect()
    };
    let trained: HashSet<_> = train.iter().map(|row| combination(&row.preference_set)).collect();
    let questions: HashSet<_> = train.iter().map(|row| row.prompt.clone()).collect();
    let systems: HashSet<_> = train.iter().map(|row| row.system.clone()).collect();
    assert!(trained.len() > 4_000, "{} combinations", trained.len());
    assert!(systems.len() > 19_900, "{} system messages", systems.len());
    let (dev, bench) = (mini.eval(Split::Dev, 300), mini.eval(Split::Bench, 300));
    let of = |records: &[BenchRecord]| -> HashSet<Vec<String>> {
        records.iter().map(|r| combination(&r.preference_set)).collect()
    };
    assert!(
        of(&dev).is_disjoint(&trained)
            && of(&bench).is_disjoint(&trained)
            && of(&dev).is_disjoint(&of(&bench))
    );
    for record in dev.iter().chain(&bench) {
        assert!(
            !questions.contains(&record.prompt)
                && !systems.contains(&record.system)
                && record.system != UNIFORM_SYSTEM
        );
    }
}

#[test]
fn the_seed_determines_everything() {
    let ids = |records: &[BenchRecord]| records.iter().map(|r| r.id.clone().unwrap()).collect::<HashSet<_>>();
    assert_eq!(Mini::new(1).train(50, None), Mini::new(1).train(50, None));
    assert_ne!(Mini::new(1).train(50, None), Mini::new(2).train(50, None));
    assert_eq!(Mini::new(1).documents(20), Mini::new(1).documents(20));
    let bench = bench();
    assert_eq!(ids(&bench).len(), bench.len());
}

#[test]
fn a_pool_limits_the_system_messages_and_nothing_else() {
    let mini = Mini::new(5);
    let (few, all) = (mini.train(2_000, NonZeroUsize::new(16)), mini.train(2_000, None));
    let distinct = |rows: &[janus_core::SftRecord]| {
        rows.iter().map(|row| row.system.clone()).collect::<HashSet<_>>().len()
    };
    assert_eq!(distinct(&few), 16);
    assert!(distinct(&all) > 1_990);
    assert!(few.iter().zip(&all).all(|(a, b)| a.prompt == b.prompt));
    assert!(few.iter().all(|row| !row.output.is_empty() && row.system != UNIFORM_SYSTEM));
}

#[test]
fn the_vocabulary_stays_small() {
    let words: HashSet<String> = Mini::new(1)
        .documents(3_000)
        .iter()
        .flat_map(|text| {
            text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect::<Vec<_>>()
        })
        .collect();
    assert!((800..2_500).contains(&words.len()), "{} words", words.len());
}

#[test]
fn the_chosen_of_a_pair_fits_and_the_rejected_does_not() {
    let records = Mini::new(2).eval(Split::Dev, 60);
    let pairs = held_out_pairs(&records);
    assert_eq!(pairs.len(), records.len());
    let text = |messages: &[janus_core::Message]| messages[1].content.clone();
    let sides = |side: fn(&janus_core::PairRecord) -> &Vec<janus_core::Message>| -> Vec<Vec<u8>> {
        records.iter().zip(&pairs).map(|(record, pair)| scores(record, &text(side(pair)))).collect()
    };
    assert_eq!(mean(&sides(|pair| &pair.chosen)), 5.0);
    assert!(mean(&sides(|pair| &pair.rejected)) < 1.5);
}

#[test]
fn training_pairs_share_nothing_with_the_evaluation_splits_and_differ() {
    let mini = Mini::new(4);
    let judged: HashSet<String> = [Split::Dev, Split::Bench]
        .iter()
        .flat_map(|&split| mini.eval(split, 300))
        .flat_map(|r| [r.system, r.prompt])
        .collect();
    let (pairs, helpful) = (mini.pairs(3_000), mini.helpful_pairs(3_000));
    for pair in pairs.iter().chain(&helpful) {
        assert!(!judged.contains(&pair.system) && !judged.contains(&pair.prompt));
        assert!(pair.chosen[1] != pair.rejected[1], "{pair:?}");
        assert_eq!(
            (&pair.chosen[0], pair.chosen[0].content.as_str()),
            (&pair.rejected[0], pair.prompt.as_str())
        );
    }
    assert!(
        pairs.iter().all(|pair| !pair.system.is_empty()) && helpful.iter().all(|pair| pair.system.is_empty())
    );
}

#[test]
fn the_chosen_of_a_helpful_pair_is_true_and_the_rejected_is_not_truer() {
    let truth = |pair: &janus_core::PairRecord, side: &[janus_core::Message]| {
        grade_truth(&pair.prompt, &side[1].content).unwrap().score.get()
    };
    let pairs = Mini::new(6).helpful_pairs(800);
    assert!(pairs.iter().all(|pair| truth(pair, &pair.chosen) == 5 && understand(&pair.prompt).is_some()));
    let untrue = pairs.iter().filter(|pair| truth(pair, &pair.rejected) < 5).count();
    assert!(untrue > 400, "{untrue} of 800 rejected answers are not fully true");
}

#[test]
fn graded_pairs_prefer_the_best_graded_answer_and_the_true_one() {
    let mini = Mini::new(8);
    let records = mini.eval(Split::Train, 40);
    // Three answers that a model might give: the record's own, that for another reader, and one to another
    // question.
    let answers: Vec<Vec<String>> = (0..records.len())
        .map(|row| {
            let [own, other, strange] = [row, (row / 3) * 3 + (row + 1) % 3, (row + 3) % records.len()];
            [own, other, other, strange].map(|row| records[row].reference_answer.clone()).to_vec()
        })
        .collect();
    let pairs = mini.graded_pairs(records.iter().zip(answers.iter().map(Vec::as_slice))).unwrap();
    let total = |record: &BenchRecord, side: &[janus_core::Message]| -> u32 {
        scores(record, &side[1].content).into_iter().map(u32::from).sum()
    };
    let truth = |prompt: &str, side: &[janus_core::Message]| {
        grade_truth(prompt, &side[1].content).unwrap().score.get()
    };
    let (mut without_system, mut with_system) = (0, 0);
    for pair in &pairs {
        if pair.system.is_empty() {
            without_system += 1;
            assert!(
                truth(&pair.prompt, &pair.chosen) == 5 && truth(&pair.prompt, &pair.rejected) < 5,
                "{pair:?}"
            );
        } else {
            with_system += 1;
            let record = records
                .iter()
                .find(|record| record.system == pair.system && record.prompt == pair.prompt)
                .unwrap();
            assert!(total(record, &pair.chosen) == 20 && total(record, &pair.rejected) < 20, "{pair:?}");
        }
    }
    // The answer to another question is rejected with and without the system message, that for another reader
    // only with it.
    assert_eq!((without_system, with_system), (records.len(), 2 * records.len()));
    let again = mini.graded_pairs(records.iter().zip(answers.iter().map(Vec::as_slice))).unwrap();
    assert_eq!(pairs, again);
}

#[test]
fn answers_with_equal_scores_or_no_answers_give_no_graded_pairs() {
    let mini = Mini::new(8);
    let records = mini.eval(Split::Train, 2);
    let own: Vec<[String; 1]> = records.iter().map(|record| [record.reference_answer.clone()]).collect();
    assert_eq!(mini.graded_pairs(records.iter().zip(own.iter().map(|own| &own[..]))).unwrap(), []);
    assert_eq!(mini.graded_pairs(records.iter().map(|record| (record, &[][..]))).unwrap(), []);
    let foreign = BenchRecord { prompt: "What is the boiling point of water?".into(), ..records[0].clone() };
    let error = mini.graded_pairs([(&foreign, &own[0][..])]).unwrap_err().to_string();
    assert!(error.contains("is not Mini's"), "{error}");
}
