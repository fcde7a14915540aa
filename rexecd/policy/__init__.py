"""The policy: what is allowed, and the decision. Pure: text and facts in, an Invocation or Refused out."""
