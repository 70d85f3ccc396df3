//! Trains Llama and Mistral models on packed rows.
