#!/usr/bin/env bash
# Everything that wants an NVIDIA GPU, one CSV file each under results, named after the machine:
#     benchmarks/gpu.sh NAME [speed] [accuracy] [push]
# `speed`, the default, takes some twenty minutes on one GPU. The others train on $MMSEG_BISENET_DATA/camvid: `accuracy`
# our recipes and stock's with three seeds each, 12 times 10,000 iterations; `push` ours with one thing changed at a time.
# SMALL=1 runs the same at the size of a test, on a CPU as well. What fails is named at the end, and the rest goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?give a name for the machine, such as h100}
results=${RESULTS:-results}
bisenet=${BISENET:-mmseg-bisenet}
shapes=('512 1024' '1024 2048') batches=(4 16) crop='1024 1024' images=200 steps=20 street='1024 2048'
runtimes=(torch compile) precisions=(fp32 fp16 bf16) compile=(--compile) amp=(--amp) seeds=(0 1 2)
scaling=() small=() work_dir=${WORK_DIR:-work_dirs/accuracy}
if [ -n "${SMALL:-}" ]; then
  shapes=('64 128') batches=(2) crop='64 64' images=3 steps=1 street='64 128'
  runtimes=(torch) precisions=(fp32) compile=() amp=() seeds=(0) work_dir=${WORK_DIR:-work_dirs/accuracy-small}
  scaling=(model.data_preprocessor.size='(64,64)' train_dataloader.dataset.pipeline.2.crop_size='(64,64)')
  small=(train_cfg.max_iters=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=2
         train_dataloader.batch_size=2 train_dataloader.num_workers=0 train_dataloader.persistent_workers=False)
fi
networks=(
  bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024
  bisenetv2-l_fcn_4xb4-ohem-150k_cityscapes-1024x1024
  bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024
  bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024
)
recipes=(
  bisenetv2_fcn_1xb16-10k_camvid-360x480 bisenetv2_fcn-stock_1xb16-10k_camvid-360x480
  bisenetv1_r18-d32_1xb16-10k_camvid-360x480 bisenetv1_r18-d32-stock_1xb16-10k_camvid-360x480
)

failed=()
run() {  # ARGUMENT... of mmseg-bisenet
  # shellcheck disable=SC2086
  $bisenet "$@" || failed+=("$*")
}

# shellcheck disable=SC2086
speed() {
  local network short shape batch data
  for network in "${networks[@]}"; do
    short=${network%%_[0-9]xb*}
    for shape in "${shapes[@]}"; do
      run benchmark "$network" --shape $shape --images $images --runtime "${runtimes[@]}" \
        --precision "${precisions[@]}" --csv "$results/runtimes_${short}_${shape/ /x}_$name.csv"
      run benchmark-roofline "$network" --shape $shape --csv "$results/roofline_${short}_${shape/ /x}_$name.csv"
    done
  done

  # The shares of equal labels that mean something are those of trained weights.
  run benchmark bisenetv2_camvid mmseg_bisenet/weights/bisenetv2_camvid.safetensors --shape ${shapes[0]} \
    --images $images --runtime "${runtimes[@]}" --precision "${precisions[@]}" \
    --csv "$results/runtimes_bisenetv2_camvid_$name.csv"

  for network in "${networks[0]}" "${networks[2]}"; do
    run benchmark-training "$network" --shape $crop --batch "${batches[@]}" --steps $steps "${compile[@]}" \
      --csv "$results/training_${network%%_[0-9]xb*}_$name.csv"
  done

  # Where the loader becomes the limit, on drawn streets of Cityscapes' size.
  data=$(mktemp -d)
  run miniscapes "$data/cityscapes" --train 64 --val 1 --size $street
  for batch in "${batches[@]}"; do
    MMSEG_BISENET_DATA=$data run benchmark-scaling "${networks[0]}" --steps $steps --csv "$results/scaling_batch${batch}_$name.csv" \
      --cfg-options train_dataloader.batch_size=$batch "${scaling[@]}"
  done
  rm -r "$data"
}

train() {  # NAME CONFIG... OPTION...
  run benchmark-accuracy "${@:2}" --work-dir "$work_dir/$1" --csv "$results/camvid-$1_$name.csv" "${amp[@]}"
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
  change crop "$crop_step.ratio_range=(0.75,2.0)" "$crop_step.crop_size=(480,640)" 'model.data_preprocessor.size=(480,640)'
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
    speed | accuracy | push) ;;
    *) echo "$what is not known; give speed, accuracy or push" >&2; exit 2 ;;
  esac
done
for what in "${@:2}"; do $what; done
[ $# -gt 1 ] || speed
[ "$results" != results ] || run tables
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: mmseg-bisenet %s\n' "${failed[@]}" >&2
  exit 1
fi
