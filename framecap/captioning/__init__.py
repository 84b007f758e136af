"""Images in, captions out: preprocessing, vocabulary, model, beam search, bundles, runtimes."""
