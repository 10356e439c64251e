"""The fair trial of growth: a small world, a language model of it, skills, probes and arms.

`world` makes facts and texts, `language` the tokenizer and the model, `pretraining` the base model,
`skills` what is to be learned, `probes` what must not be forgotten, and `scoring` the measures.
"""
