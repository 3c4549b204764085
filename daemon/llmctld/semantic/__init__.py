"""The semantic cache: the stored answer to a question is served for another question that means the same.

`guards/` refuses pairs of questions, `decision/` decides whether an answer is served, `words/` reads texts for both.
"""
