"""The command of docs/evaluate.md that starts the official Cityscapes script."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
from docs.pages import ROOT, blocks


def test_the_official_script_starts_as_documented(drawn, tmp_path):
    (command,) = (block.text for block in blocks(ROOT / 'docs/evaluate.md') if 'evalPixelLevel' in block.text)
    truth = tmp_path / 'data/cityscapes/gtFine/val'
    shutil.copytree(drawn / 'miniscapes/gtFine/val', truth)
    labels = tmp_path / 'labels'
    labels.mkdir()
    for path in truth.rglob('*_labelIds.png'):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        # Cityscapes has these files too. Ids below 1000 are regions without instances.
        cv2.imwrite(str(path).replace('labelIds', 'instanceIds'), ids.astype('uint16'))
        ids[ids == 7] = 8  # the road is called sidewalk
        cv2.imwrite(str(labels / path.name.replace('gtFine_labelIds', 'leftImg8bit')), ids)
    python = Path(sys.executable).parent
    environment = {key: value for key, value in os.environ.items() if not key.startswith('CITYSCAPES')}
    environment['PATH'] = f'{python}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(['bash', '-c', command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(next(tmp_path.rglob('resultPixelLevelSemanticLabeling.json')).read_text())
    assert result['classScores']['road'] == 0
    assert result['classScores']['building'] == 1
    assert 0 < result['classScores']['sidewalk'] < 1
