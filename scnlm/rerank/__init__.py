"""Which candidate is said: the weighted score, the vote, their tuning, and the Kneser-Ney trigram (section 2.5)."""
