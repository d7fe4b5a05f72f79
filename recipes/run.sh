#!/usr/bin/env bash
# What:      from a checkpoint in Baichuan's layout to a report: convert, build the data, train, merge, exam, report
# Hardware:  that of the recipe
# Launch:    SOURCE=... DATA=... QUESTIONS=... RECIPE=... WORK=... bash recipes/run.sh
# Expected:  WORK/report/report.md. Run it again after an interruption: finished steps are skipped, and training goes on
#            from its last whole checkpoint
set -euo pipefail

SOURCE=${SOURCE-baichuan-inc/Baichuan2-7B-Base}  # checkpoint to convert; empty when BASE loads in transformers as it is
DATA=${DATA:-Flmc/DISC-Med-SFT}  # files, folders, globs or Hub datasets, separated by spaces
DATA_OPTIONS=${DATA_OPTIONS:---license apache-2.0 --test-fraction 0.002}  # for `medllm data build`
QUESTIONS=${QUESTIONS:?a file of exam questions}  # for `medllm eval mcq --data`
EVAL_OPTIONS=${EVAL_OPTIONS:-}  # for `medllm eval mcq`
RECIPE=${RECIPE:-recipes/baichuan2-7b/stage1_full.yaml}
TRAIN=${TRAIN:-torchrun --nproc_per_node 4 -m medllm_hf sft}  # `medllm sft` for one GPU or none
TRAIN_OPTIONS=${TRAIN_OPTIONS:-}  # options of `trl sft` that go before those of the recipe
WORK=${WORK:-work/run}  # folder of this run
BASE=${BASE:-$WORK/base}  # checkpoint to train

settings="SOURCE=$SOURCE DATA=$DATA DATA_OPTIONS=$DATA_OPTIONS QUESTIONS=$QUESTIONS EVAL_OPTIONS=$EVAL_OPTIONS
RECIPE=$RECIPE TRAIN_OPTIONS=$TRAIN_OPTIONS BASE=$BASE"
mkdir -p "$WORK/done"
if [[ -f $WORK/settings ]] && [[ $(<"$WORK/settings") != "$settings" ]]; then
    echo "run.sh: $WORK was begun with other settings (see $WORK/settings); choose another WORK or remove it" >&2
    exit 2
fi
echo "$settings" >"$WORK/settings"

step() { # NAME COMMAND...: runs the command unless it has ended well before
    local name=$1
    shift
    if [[ -f $WORK/done/$name ]]; then
        echo "== $name: done before"
        return
    fi
    echo "== $name: $*"
    "$@"
    touch "$WORK/done/$name"
}

train() {
    local last="" folder
    # Of `trl sft`, a checkpoint is whole when its trainer_state.json is there; `medllm sft` marks one that is not.
    for folder in $(ls -d "$WORK"/model/checkpoint-* 2>/dev/null | sort -V); do
        [[ -f $folder/trainer_state.json && ! -e $folder.unfinished ]] && last=$folder
    done
    [[ -n $last ]] || rm -rf "$WORK/model"
    # shellcheck disable=SC2086 # the options are words
    $TRAIN --config "$RECIPE" --model_name_or_path "$BASE" --dataset_name "$WORK/dataset" --output_dir "$WORK/model" \
        ${last:+--resume_from_checkpoint "$last"} $TRAIN_OPTIONS
}

exam() { # NAME MODEL
    # shellcheck disable=SC2086
    step "exam-$1" medllm eval mcq --model "$2" --data "$QUESTIONS" --out "$WORK/runs/$1" --overwrite $EVAL_OPTIONS
}

if [[ -n $SOURCE ]]; then
    step convert medllm convert "$SOURCE" "$BASE" --overwrite
fi
# shellcheck disable=SC2086
step data medllm data build $DATA --out "$WORK/dataset" --benchmarks "$QUESTIONS" --overwrite $DATA_OPTIONS
exam before "$BASE"
step train train
trained=$WORK/model
if [[ -f $WORK/model/adapter_config.json ]]; then
    trained=$WORK/merged
    step merge medllm merge "$WORK/model" "$trained" --base "$BASE" --overwrite
fi
exam after "$trained"
step report medllm report "$WORK/runs/before" "$WORK/runs/after" --out "$WORK/report" --overwrite
