//! Conversion of a decoder to a model for inference.

use candle_core::{DType, Device};
use janus_infer::Model;

use super::Decoder;
use crate::Result;

impl Decoder {
    /// The current model with LoRA adapters merged, for inference on the CPU in f32. The weights are
    /// copied; no file is written.
    ///
    /// ```no_run
    /// use janus_core::ChatTemplate;
    /// use janus_data::Tokenizer;
    /// use janus_infer::{Engine, EngineOptions};
    /// # fn engine(decoder: &janus_train::Decoder) -> Result<(), Box<dyn std::error::Error>> {
    /// let tokenizer = Tokenizer::read("tokenizer.json")?;
    /// let engine = Engine::new(decoder.to_model()?, tokenizer, ChatTemplate::MistralInstruct, EngineOptions::default());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For another device or dtype, or for the rewards of a value head, [`save`](Self::save) the model
    /// and load its folder.
    ///
    /// # Errors
    /// [`Error::NoHead`](crate::Error::NoHead) for a reward model without a language-model head; if candle
    /// fails.
    pub fn to_model(&self) -> Result<Model> {
        self.head()?;
        let merged = self.detached()?.merged()?;
        let weight = |name: &str, _: &[usize]| {
            let wide = merged.weight(name).to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            Ok(wide.flatten_all()?.to_vec1::<f32>()?)
        };
        Ok(Model::from_weights(merged.config.clone(), weight)?)
    }
}
