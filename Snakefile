# The pipeline: `snakemake --cores N` makes everything that experiment.yaml declares, and the paper.
report: "workflow/report/workflow.rst"
include: "workflow/rules/experiment.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input: experiment.targets, rules.figure.output, rules.tables.output
