"""Sampling: the next tokens of the rows of a batch, and log-probabilities.

A row's logits are processed in this order:

1. ``logit_bias`` is added;
2. ``repetition_penalty``: logits of tokens seen in input or output are divided by it when positive, else multiplied;
3. ``frequency_penalty`` times the count in the output, then ``presence_penalty`` once, are subtracted;
4. ``min_tokens``: tokens that would end the row are removed until it has that many;
5. at temperature 0 the largest is chosen; otherwise the logits are divided by the temperature;
6. ``min_p`` keeps tokens with at least that fraction of the largest probability;
7. ``top_k`` keeps the k most probable of those;
8. ``top_p`` keeps the fewest most probable of those whose share of their total probability reaches p;
9. one token is drawn.

Each filter keeps the first of the tokens sorted by logit; of equal logits at the limit, the lower token ids are kept.
A draw inverts the cumulative distribution, in the order of token ids and in float64, at a uniform number that depends only
on the row's seed, stream and step: a row's tokens do not depend on the other rows of the batch.

The host does not wait for the device: parameters of all rows are sent in one copy, and tokens stay on the device.
"""
