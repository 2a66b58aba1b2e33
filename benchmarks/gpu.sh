#!/usr/bin/env bash
# Runs every benchmark that needs an NVIDIA GPU, and writes one CSV file each to results; file names end in NAME, the
# machine:
#     benchmarks/gpu.sh NAME [tests] [runtimes] [training] [roofline] [loader] [speed] [accuracy] [push]
# `speed`, the default, is the first five, the most valuable first, and takes about twenty minutes on one GPU. `accuracy`
# and `push` train on $MMSEG_BISENET_DATA/camvid: `accuracy` our recipes and stock's with three seeds each (12 trainings
# of 10,000 iterations), `push` our recipe with one change at a time.
#
# Each step is a process of its own with a time limit, and writes its file when it is done: what is cut off costs only its
# own results. TIME=570 gives seconds for all steps together; those that it does not reach are named at the end, as those
# that fail. Interrupted trainings resume when the same command is run again. With SMALL=1 the same commands run at the
# size of a test, also on a CPU. PYTHON, RESULTS and WORK_DIR replace the defaults.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?give a name for the machine, such as h100}
results=${RESULTS:-results}
python=${PYTHON:-python}
deadline=$((SECONDS + ${TIME:-1000000}))
shapes=('512 1024' '1024 2048') batches=(16 4) crop='1024 1024' images=200 steps=20 street='1024 2048'
runtimes=(torch compile) precisions=(fp16 fp32 bf16) compile=(--compile) amp=(--amp) seeds=(0 1 2)
scaling=() small=() slower=1 work_dir=${WORK_DIR:-work_dirs/accuracy}
if [ -n "${SMALL:-}" ]; then
  shapes=('64 128') batches=(2) crop='64 64' images=3 steps=1 street='64 128'
  runtimes=(torch) precisions=(fp32) compile=() amp=() seeds=(0) work_dir=${WORK_DIR:-work_dirs/accuracy-small}
  scaling=(crop_size='(64,64)') slower=10
  small=(train_cfg.max_iters=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=2
         train_dataloader.batch_size=2 train_dataloader.num_workers=0 train_dataloader.persistent_workers=False)
fi
networks=(
  bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024
  bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024
  bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024
  bisenetv2-l_fcn_4xb4-ohem-150k_cityscapes-1024x1024
)
recipes=(
  bisenetv2_fcn_1xb16-10k_camvid-360x480 bisenetv2_fcn-stock_1xb16-10k_camvid-360x480
  bisenetv1_r18-d32_1xb16-10k_camvid-360x480 bisenetv1_r18-d32-stock_1xb16-10k_camvid-360x480
)

failed=()
step() {  # SECONDS MODULE ARGUMENT...
  local limit=$((slower * $1)) left=$((deadline - SECONDS)) status=0
  shift
  if [ $left -le 0 ]; then
    failed+=("no time: python -m $*")
    return
  fi
  # shellcheck disable=SC2086
  timeout --kill-after=10 $((limit < left ? limit : left)) $python -m "$@" || status=$?
  case $status in
    0) ;;
    124 | 137) failed+=("cut off: python -m $*") ;;
    *) failed+=("failed: python -m $*") ;;
  esac
}

tests() { step 300 pytest -m gpu tests/gpu; }

# shellcheck disable=SC2086
runtimes() {
  local network shape
  # Shares of equal labels need trained weights.
  step 150 mmseg_bisenet.cli benchmark bisenetv2_camvid mmseg_bisenet/weights/bisenetv2_camvid.safetensors \
    --shape ${shapes[0]} --images $images --runtime "${runtimes[@]}" --precision "${precisions[@]}" \
    --csv "$results/runtimes_bisenetv2_camvid_$name.csv"
  for network in "${networks[@]}"; do
    for shape in "${shapes[@]}"; do
      step 150 mmseg_bisenet.cli benchmark "$network" --shape $shape --images $images --runtime "${runtimes[@]}" \
        --precision "${precisions[@]}" --csv "$results/runtimes_${network%%_[0-9]xb*}_${shape/ /x}_$name.csv"
    done
  done
}

# shellcheck disable=SC2086
training() {
  local network batch
  for network in "${networks[@]:0:2}"; do
    for batch in "${batches[@]}"; do
      step 300 benchmarks.training "$network" --shape $crop --batch $batch --steps $steps "${compile[@]}" \
        --csv "$results/training_${network%%_[0-9]xb*}_batch${batch}_$name.csv"
    done
  done
  step 120 benchmarks.loss --batch ${batches[-1]} --shape $crop --csv "$results/loss_$name.csv"
}

# shellcheck disable=SC2086
roofline() {
  local network shape
  for network in "${networks[@]}"; do
    for shape in "${shapes[@]}"; do
      step 60 benchmarks.roofline "$network" --shape $shape \
        --csv "$results/roofline_${network%%_[0-9]xb*}_${shape/ /x}_$name.csv"
    done
  done
}

# How fast the loader is, on drawn streets of Cityscapes' size.
# shellcheck disable=SC2086
loader() {
  local batch data
  data=$(mktemp -d)
  step 120 mmseg_bisenet.cli miniscapes "$data/cityscapes" --train 64 --val 1 --size $street
  for batch in "${batches[@]}"; do
    MMSEG_BISENET_DATA=$data step 120 benchmarks.scaling "${networks[0]}" --steps $steps \
      --csv "$results/scaling_batch${batch}_$name.csv" \
      --cfg-options train_dataloader.batch_size=$batch "${scaling[@]}"
  done
  rm -r "$data"
}

speed() {
  local what
  for what in tests runtimes training roofline loader; do $what; done
}

train() {  # NAME CONFIG... OPTION...
  step 100000 benchmarks.accuracy "${@:2}" --work-dir "$work_dir/$1" --csv "$results/accuracy_camvid-$1_$name.csv" \
    "${amp[@]}"
}

accuracy() {
  train recipes "${recipes[@]}" --seeds "${seeds[@]}" ${small:+--cfg-options "${small[@]}"}
}

push() {
  local crop_step=train_dataloader.dataset.pipeline.2 losses=(model.decode_head.loss_decode) i
  for i in 0 1 2 3; do losses+=("model.auxiliary_head.$i.loss_decode"); done
  change as-it-is
  change ema --ema
  change scales "$crop_step.ratio_range=(0.75,2.0)"
  change crop "$crop_step.ratio_range=(0.75,2.0)" 'crop_size=(480,640)'
  change ohem "${losses[@]/%/.type=mmseg_bisenet.OHEMCrossEntropyLoss}"
  change no-class-weights "${losses[@]/%/.class_weight=None}"
  change 20k train_cfg.max_iters=20000 param_scheduler.1.end=20000
}

change() {  # NAME KEY=VALUE... or --ema
  local changes=("${@:2}" "${small[@]}") ema=()
  [ "${2:-}" != --ema ] || changes=("${small[@]}") ema=(--ema)
  train "$1" "${recipes[0]}" --seeds 0 "${ema[@]}" ${changes:+--cfg-options "${changes[@]}"}
}

for what in "${@:2}"; do
  case $what in
    tests | runtimes | training | roofline | loader | speed | accuracy | push) ;;
    *)
      echo "$what is not known; give tests, runtimes, training, roofline, loader, speed, accuracy or push" >&2
      exit 2
      ;;
  esac
done
for what in "${@:2}"; do $what; done
[ $# -gt 1 ] || speed
[ "$results" != results ] || $python -m benchmarks.tables || failed+=('failed: python -m benchmarks.tables')
if [ ${#failed[@]} -gt 0 ]; then
  printf '%s\n' "${failed[@]}" >&2
  exit 1
fi
