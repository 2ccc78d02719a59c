# Fuel consumption by weight and power: a linear model, with bootstrap intervals.
# Nothing is seeded here: the generator is before this script begins.

arguments <- commandArgs(trailingOnly = TRUE)
cars <- read.csv(arguments[1])
resamples <- as.integer(arguments[2])

fit <- function(rows) lm(consumption ~ weight + power, data = cars[rows, ])

model <- fit(seq_len(nrow(cars)))
bootstrap <- replicate(resamples, coef(fit(sample(nrow(cars), replace = TRUE))))
interval <- apply(bootstrap, 1, quantile, probs = c(0.025, 0.975))

coefficients <- data.frame(
  term = names(coef(model)),
  estimate = coef(model),
  low = interval[1, ],
  high = interval[2, ]
)
coefficients[-1] <- signif(coefficients[-1], 10)
write.csv(coefficients, arguments[3], row.names = FALSE, quote = FALSE)

cat(
  sprintf(
    '{"r_squared": %.10g, "weight": %.10g, "weight_low": %.10g, "weight_high": %.10g}\n',
    summary(model)$r.squared,
    coef(model)[["weight"]],
    interval[1, "weight"],
    interval[2, "weight"]
  ),
  file = arguments[4]
)
