"""Short common words: about a token each in the tokenizers of Llama, Qwen and Gemma."""

WORDS = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work number night
point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law
car city name team minute idea body information back parent face others level office door health
person art war history party result change morning reason research girl guy moment air teacher
force education foot boy age policy music market sense good new first last long great little own
other old big high small large next early young important few public bad same able
""".split()  # noqa: SIM905
