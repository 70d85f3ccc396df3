//! A model's own template in training: the ids of a conversation, and which of them the model is trained on.

use janus_core::{Message, Role};
use janus_data::{ConversationFormat, TokenRow, Tokenizer};

use super::generation::{BEGIN, END};
use super::{Escaped, JinjaTemplate};

/// What the template writes before an answer of the assistant, and up to its end.
struct AnswerText {
    /// The index of the message.
    message: usize,
    before: String,
    through: String,
}

impl JinjaTemplate {
    /// The text of every answer of the assistant with what stands before it: as the template marks it with
    /// `{% generation %}`, or else from the renderings of the conversation up to there.
    fn answers(&self, messages: &[Message]) -> crate::Result<Vec<AnswerText>> {
        let assistant = |message: &Message| message.role == Role::Assistant;
        let indices = || (0..messages.len()).filter(|index| assistant(&messages[*index]));
        let marked = self.render_with(messages, false, true)?;
        let parts: Vec<&str> = marked.split([BEGIN, END]).collect();
        if parts.len() == 2 * indices().count() + 1 && parts.len() > 1 {
            let text = |parts: &[&str]| parts.concat();
            let answer = |(answer, message): (usize, usize)| AnswerText {
                message,
                before: text(&parts[..=2 * answer]),
                through: text(&parts[..=2 * answer + 1]),
            };
            return Ok(indices().enumerate().map(answer).collect());
        }
        let answer = |message: usize| {
            let before = self.render_text(&messages[..message], true)?;
            Ok(AnswerText { message, before, through: self.render_text(&messages[..=message], false)? })
        };
        indices().map(answer).collect()
    }
}

impl ConversationFormat for JinjaTemplate {
    /// The loss of an answer begins where the ids of its prompt end, and ends with its end token, or else
    /// where the template goes on to the next message.
    fn row(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        in_loss: &dyn Fn(usize) -> bool,
    ) -> janus_data::Result<TokenRow> {
        let escaped = Escaped::new(messages, tokenizer);
        let ids = escaped.encode(&self.render_text(&escaped.messages, false).map_err(refused)?, tokenizer)?;
        let mut loss_mask = vec![false; ids.len()];
        let ends = self.end_ids(tokenizer);
        for AnswerText { message, before, through } in self.answers(&escaped.messages).map_err(refused)? {
            if !in_loss(message) {
                continue;
            }
            let (before, through) =
                (escaped.encode(&before, tokenizer)?, escaped.encode(&through, tokenizer)?);
            if !through.starts_with(&before) || !ids.starts_with(&through) {
                return Err(janus_data::Error::PromptNotPrefix { message });
            }
            let answer = before.len()..through.len();
            let end = ids[answer.clone()].iter().rposition(|id| ends.contains(id));
            let end = end.map_or(answer.end, |end| answer.start + end + 1);
            loss_mask[answer.start..end].fill(true);
        }
        Ok((ids, loss_mask).into())
    }

    fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> janus_data::Result<Vec<u32>> {
        self.encode_prompt(messages, tokenizer).map_err(refused)
    }
}

fn refused(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> janus_data::Error {
    janus_data::Error::Format { cause: error.into() }
}

#[cfg(test)]
mod tests {
    use janus_core::ChatTemplate;

    use super::*;

    const MARKED: &str = "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n\
        {% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{{ '\n' }}\
        {% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["a kite flies in the wind"].into_iter(), 300, ChatTemplate::ChatMl.special_tokens())
            .unwrap()
    }

    fn turns() -> Vec<Message> {
        vec![
            Message::system("Be brief."),
            Message::user("What is a kite?"),
            Message::assistant("A toy, not <|im_end|>."),
            Message::user("Why does it fly?"),
            Message::assistant("The wind."),
        ]
    }

    fn jinja(text: &str) -> JinjaTemplate {
        JinjaTemplate::new(text).unwrap().with_token("eos_token", "<|im_end|>")
    }

    /// ChatML as a built-in template, in Jinja, and in Jinja with the tag: the same ids and the same loss.
    #[test]
    fn a_template_of_ones_own_trains_as_the_built_in_one() {
        let (tokenizer, turns) = (tokenizer(), turns());
        for in_loss in [&(|_| true) as &dyn Fn(usize) -> bool, &|index| index == 4, &|index| index == 2] {
            let expected = ChatTemplate::ChatMl.row(&tokenizer, &turns, in_loss).unwrap();
            assert!(expected.loss_tokens() > 3);
            for text in [ChatTemplate::ChatMl.jinja(), MARKED] {
                assert_eq!(jinja(text).row(&tokenizer, &turns, in_loss).unwrap(), expected, "{text}");
            }
        }
        for template in [jinja(MARKED), jinja(ChatTemplate::ChatMl.jinja())] {
            let expected = ChatTemplate::ChatMl.prompt(&tokenizer, &turns[..4]).unwrap();
            assert_eq!(template.prompt(&tokenizer, &turns[..4]).unwrap(), expected);
        }
    }

    /// A template that drops the earlier answers' text, as some do with what a model thought.
    #[test]
    fn a_row_whose_prompt_is_not_its_beginning_is_refused() {
        let text = "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}...{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}";
        let (template, tokenizer, turns) = (jinja(text), tokenizer(), turns());
        let error = template.row(&tokenizer, &turns, &|_| true).unwrap_err();
        assert!(matches!(error, janus_data::Error::PromptNotPrefix { message: 2 }), "{error}");
        // The last answer's prompt is a beginning.
        assert!(template.row(&tokenizer, &turns, &|index| index == 4).unwrap().loss_tokens() > 0);
    }

    #[test]
    fn the_tags_are_not_seen_in_inference() {
        let plain = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "");
        assert_eq!(jinja(MARKED).render(&turns()).unwrap(), jinja(&plain).render(&turns()).unwrap());
    }
}
