#!/usr/bin/env bash
# Everything that wants an NVIDIA GPU, one CSV file each under benchmark/results, named after the machine:
#     benchmark/gpu.sh NAME [accuracy]
# Speed takes some twenty minutes on one GPU. `accuracy` trains too, 12 times 10,000 iterations, on $MMSEG_BISENET_DATA/camvid.
# SMALL=1 runs the same at the size of a test, on a CPU as well.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?give a name for the machine, such as h100}
results=${RESULTS:-benchmark/results}
bisenet=${BISENET:-mmseg-bisenet}
shapes=('512 1024' '1024 2048') batches=(4 16) crop='1024 1024' images=200 steps=20 options=()
runtimes=(deploy compile) precisions=(fp32 fp16 bf16) compile=(--compile)
if [ -n "${SMALL:-}" ]; then
  shapes=('64 128') batches=(2) crop='64 64' images=3 steps=1
  runtimes=(deploy) precisions=(fp32) compile=()
  options=(--cfg-options train_cfg.max_iters=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=2
           train_dataloader.batch_size=2 train_dataloader.num_workers=0 train_dataloader.persistent_workers=False)
fi
networks=(
  bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024
  bisenetv2-l_fcn_4xb4-ohem-150k_cityscapes-1024x1024
  bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024
  bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024
)

for network in "${networks[@]}"; do
  short=${network%%_[0-9]xb*}
  for shape in "${shapes[@]}"; do
    size=${shape/ /x}
    # shellcheck disable=SC2086
    $bisenet benchmark "$network" --shape $shape --images $images --runtime "${runtimes[@]}" \
      --precision "${precisions[@]}" --csv "$results/runtimes_${short}_${size}_$name.csv"
    # shellcheck disable=SC2086
    $bisenet benchmark-roofline "$network" --shape $shape --csv "$results/roofline_${short}_${size}_$name.csv"
  done
done

# The shares of equal labels that mean something are those of trained weights.
weights=mmseg_bisenet/weights/bisenetv2_camvid.safetensors
# shellcheck disable=SC2086
$bisenet benchmark bisenetv2_camvid $weights --shape ${shapes[0]} --images $images --runtime "${runtimes[@]}" \
  --precision "${precisions[@]}" --csv "$results/runtimes_bisenetv2_camvid_$name.csv"

for network in "${networks[0]}" "${networks[2]}"; do
  # shellcheck disable=SC2086
  $bisenet benchmark-training "$network" --shape $crop --batch "${batches[@]}" --steps $steps "${compile[@]}" \
    --csv "$results/training_${network%%_[0-9]xb*}_$name.csv"
done

if [ "${2:-}" = accuracy ]; then
  configs=(bisenetv2_fcn_1xb16-10k_camvid-360x480 bisenetv2_fcn-stock_1xb16-10k_camvid-360x480
           bisenetv1_r18-d32_1xb16-10k_camvid-360x480 bisenetv1_r18-d32-stock_1xb16-10k_camvid-360x480)
  amp=(--amp)
  [ -n "${SMALL:-}" ] && configs=("${configs[@]:0:2}") && amp=(--seeds 0)
  $bisenet benchmark-accuracy "${configs[@]}" "${amp[@]}" --work-dir "${WORK_DIR:-work_dirs/accuracy}" \
    --csv "$results/accuracy_camvid_$name.csv" "${options[@]}"
fi

$bisenet tables
